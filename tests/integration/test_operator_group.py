"""Another user's daemon through ``daemon.operator_group``, with real second users."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment import others_run_python
from harness import clean_environment

OWNER, MEMBER, STRANGER = 12345, 12346, 12347
BECOME = """
import os, sys
uid, groups = int(sys.argv[1]), [int(g) for g in sys.argv[2].split(",") if g]
os.setgroups(groups); os.setgid(uid); os.setuid(uid); os.umask(0o077)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""

pytestmark = pytest.mark.skipif(
    not others_run_python(), reason="needs a second user who can run Python"
)


class Machine:
    """One owner with a daemon, a group, and whoever else there is."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "run" / "stackctld.sock"
        self.group = next(g for g in grp.getgrall() if 0 < g.gr_gid < 1000)

    def run(
        self, uid: int, *arguments: str, member: bool = False, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a module of ours as a user."""
        return subprocess.run(
            self.command(uid, *arguments, member=member),
            env=self.env(uid) | env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def command(self, uid: int, *arguments: str, member: bool) -> list[str]:
        groups = str(self.group.gr_gid) if member else ""
        return [sys.executable, "-c", BECOME, str(uid), groups, "-m", *arguments]

    def env(self, uid: int) -> dict[str, str]:
        return clean_environment() | {
            "STACKCTL_HOME": str(self.home if uid == OWNER else self.home / f"of-{uid}"),
            "STACKCTL_DAEMON__OPERATOR_GROUP": self.group.gr_name,
        }

    def ask(self, uid: int, *, member: bool, **env: str) -> subprocess.CompletedProcess[str]:
        named = {"STACKCTL_SOCKET": str(self.socket), **env}
        return self.run(uid, "stackctl", "collections", "list", member=member, **named)


@pytest.fixture
def machine() -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="sg", dir="/tmp"))
    home.chmod(0o755)
    os.chown(home, OWNER, OWNER)
    found = Machine(home)
    if found.run(OWNER, "stackctl", "--version").returncode:
        pytest.skip("other users may not read this Python")
    process = None
    try:
        process = subprocess.Popen(
            found.command(
                OWNER, "stackctl_daemon.main", "--foreground", "--target", "search", member=True
            ),
            env=found.env(OWNER),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "daemon_ready" in line:
                break
        else:
            pytest.fail("".join(lines))
        yield found
    finally:
        if process is not None:
            process.terminate()
            process.communicate(timeout=60)
        shutil.rmtree(home)


def test_a_member_who_names_socket_and_owner_is_served(machine: Machine) -> None:
    by_id = machine.ask(MEMBER, member=True, STACKCTL_OWNER=str(OWNER))
    down = machine.run(
        MEMBER, "stackctl", "down", member=True,
        STACKCTL_SOCKET=str(machine.socket), STACKCTL_OWNER=str(OWNER),
    )  # fmt: skip

    assert by_id.returncode == 0, by_id.stderr
    assert down.returncode == 6, down.stderr
    assert "lacks the permission" in down.stderr
    assert machine.ask(MEMBER, member=True, STACKCTL_OWNER=str(OWNER)).returncode == 0


def test_the_path_alone_is_not_trusted_and_the_error_says_what_would_be(machine: Machine) -> None:
    asked = machine.ask(MEMBER, member=True)
    other = machine.ask(MEMBER, member=True, STACKCTL_OWNER=str(STRANGER))

    assert (asked.returncode, other.returncode) == (6, 6)
    assert f"of user {OWNER}, expected user {MEMBER}" in asked.stderr
    assert f"fix: export STACKCTL_OWNER={OWNER}" in asked.stderr
    assert f"of user {OWNER}, expected user {STRANGER}" in other.stderr


def test_who_is_not_in_the_group_is_kept_out_by_the_directory(machine: Machine) -> None:
    asked = machine.ask(STRANGER, member=False, STACKCTL_OWNER=str(OWNER))

    assert asked.returncode == 6
    assert f"may not be opened by user {STRANGER}" in asked.stderr


def test_the_owner_without_a_socket_and_nobody_at_all_are_told(machine: Machine) -> None:
    alone = machine.run(
        MEMBER, "stackctl", "collections", "list", member=True, STACKCTL_OWNER=str(OWNER)
    )
    nobody = machine.ask(MEMBER, member=True, STACKCTL_OWNER="no-such-user")

    assert (alone.returncode, nobody.returncode) == (78, 78)
    assert "needs STACKCTL_SOCKET" in alone.stderr
    assert "no-such-user is no user of this machine" in nobody.stderr


def test_another_owners_daemon_is_never_started_by_a_member(machine: Machine) -> None:
    away = {"STACKCTL_SOCKET": str(machine.home / "none.sock"), "STACKCTL_OWNER": str(OWNER)}
    asked = machine.run(MEMBER, "stackctl", "collections", "list", member=True, **away)

    assert asked.returncode == 69
    assert "fix: sudo -u" in asked.stderr


def test_an_owner_outside_the_group_is_told_at_the_start(machine: Machine) -> None:
    home = machine.home / "second"
    home.mkdir()
    os.chown(home, OWNER, OWNER)

    started = machine.run(
        OWNER, "stackctl_daemon.main", "--foreground", STACKCTL_HOME=str(home), member=False
    )

    assert started.returncode == 78
    assert f"uid {OWNER} is not a member of it" in started.stderr
    assert "fix: sudo usermod -aG" in started.stderr
