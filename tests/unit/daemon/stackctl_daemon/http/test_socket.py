from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from stackctl.errors import Conflict, Denied
from stackctl_daemon.http.socket import Lock, bind, secure_directory


def test_socket_and_directory_are_only_ours(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"

    with bind(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [p.name for p in path.parent.iterdir()] == ["s.sock"]


def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with bind(path), pytest.raises(Conflict, match=f"already running .pid {os.getpid()}"):
        bind(path)


def test_linked_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(Denied):
        secure_directory(tmp_path / "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    os.chown(other, 12345, -1)

    with pytest.raises(Denied, match="owned by uid 12345"):
        secure_directory(other)


def test_second_lock_names_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "stackctld.lock")

    with pytest.raises(Conflict, match=f"pid {os.getpid()}") as caught:
        Lock(tmp_path / "stackctld.lock")
    assert caught.value.exit_code == 5
    lock.release()
    Lock(tmp_path / "stackctld.lock").release()


def test_a_shared_directory_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "somebody's file").touch()

    with pytest.raises(Denied, match=r"mode 1777 and other files") as caught:
        bind(shared / "s.sock")

    assert caught.value.hint == f"export STACKCTL_SOCKET={shared}/stackctl/stackctld.sock"
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_an_open_directory_that_holds_sockets_alone_is_narrowed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    path.parent.mkdir()
    path.parent.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with bind(path):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
