from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys

import pytest
from environment import others_run_python, unmeasured

from stackctl.errors import BadConfig, Denied
from stackctl_daemon.http.auth import ALL, NOTHING, OPERATOR, Access, Peer, group_id

OWNER, STRANGER, FREE_ID = 4242, 4243, 54321


def connected(access: Access, *, uid: int, groups: list[int]) -> Peer:
    """Give the peer that a process of this user and these groups is."""
    name = f"stackctl-test-{os.getpid()}"  # abstract: another user cannot enter our folders
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0{name}'); s.recv(1)"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        listener.settimeout(30)
        child = subprocess.Popen(
            [sys.executable, "-Sc", code],
            user=uid, group=FREE_ID, extra_groups=groups, env=unmeasured(), cwd="/",
        )  # fmt: skip
        with child, listener.accept()[0] as sock:
            return access.peer(sock)


def test_the_owner_and_root_may_everything_and_a_stranger_nothing() -> None:
    access = Access(owner_uid=OWNER)
    of_all = {uid: access.permissions(uid, [FREE_ID]) for uid in (0, OWNER, STRANGER)}

    assert of_all == {0: ALL, OWNER: ALL, STRANGER: NOTHING}


@pytest.mark.skipif(not others_run_python(), reason="needs a second user who can run Python")
def test_a_member_of_the_group_operates() -> None:
    group = grp.getgrgid(1)
    access = Access(group.gr_name, owner_uid=OWNER)

    member = connected(access, uid=STRANGER, groups=[FREE_ID, group.gr_gid])
    stranger = connected(access, uid=STRANGER, groups=[FREE_ID])

    assert (member.uid, member.gid, member.permissions) == (STRANGER, FREE_ID, OPERATOR)
    assert stranger.permissions == NOTHING


@pytest.mark.skipif(not others_run_python(), reason="needs a second user who can run Python")
def test_a_member_of_more_groups_than_are_told_is_looked_up() -> None:
    # An account that the database puts into a group besides its own.
    listed = [(group, name) for group in grp.getgrall() for name in group.gr_mem]
    usual = [(group, pwd.getpwnam(name).pw_uid) for group, name in listed if name != "root"]
    if not usual:
        pytest.skip("no account of this machine is in a second group")
    group, uid = usual[0]
    access = Access(group.gr_name, owner_uid=OWNER)
    many = list(range(60_000, 60_400))

    account = connected(access, uid=uid, groups=many)
    nobody = connected(access, uid=STRANGER, groups=many)

    assert (account.permissions, nobody.permissions) == (OPERATOR, NOTHING)


def test_a_group_that_is_not_there_is_named() -> None:
    assert group_id("") is None
    with pytest.raises(BadConfig, match='"no such group"') as caught:
        Access("no such group")

    assert caught.value.hint == "getent group"


def test_the_kernel_says_who_calls() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = Access(owner_uid=os.getuid()).peer(ours)

    assert peer == Peer(os.getpid(), os.getuid(), os.getgid(), ALL)


def test_a_refusal_names_the_caller_the_permission_and_the_owner() -> None:
    access = Access(owner_uid=OWNER)
    operator = Peer(1, STRANGER, FREE_ID, OPERATOR)

    access.require(operator, "operate")
    with pytest.raises(Denied, match=rf"uid {STRANGER} lacks the permission 'admin'.*{OWNER}"):
        access.require(operator, "admin")
