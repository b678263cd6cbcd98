"""The control socket: made so that only its owner reaches it; refuses to replace a live one.

The lock decides who is the daemon; the probe only guards sockets made without it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from stackctl.errors import BadConfig, Conflict, Denied, Failed
from stackctl_daemon.http.auth import group_id

log = logging.getLogger(__name__)

BACKLOG = 512
PROBE_TIMEOUT_S = 1.0
_UCRED = struct.Struct("3i")


class Lock:
    """An flock held for the daemon's life, with the pid inside for people to read."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            Conflict: another daemon holds it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            pid = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise already_running(pid) from err
        self.write_pid()

    def write_pid(self) -> None:
        """Put our pid inside; again after a fork, which keeps the lock."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, since unlinking it would let two daemons lock two files."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def already_running(pid: object) -> Conflict:
    """Make the error of a second daemon."""
    return Conflict(f"stackctld is already running (pid {pid})", hint="stackctl status")


def secure_directory(path: Path, *, operator_group: str = "") -> None:
    """Make the socket's directory 0700 (0710 with an operator group), or check that it is ours.

    A directory that is there and open to more is narrowed only when it holds sockets alone:
    ``STACKCTL_SOCKET=/run/x.sock`` must not close ``/run`` to everybody else.

    Raises:
        Denied: it is a symbolic link, no directory, somebody else's, or shared with others.
        BadConfig: the operator group is none, or not one of ours to give.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        raise Denied(f"{path} is not a directory of its own", hint=f"ls -ld {path}")
    if found.st_uid != os.getuid():
        raise Denied(
            f"{path} is owned by uid {found.st_uid}, not by uid {os.getuid()}",
            hint=f"ls -ld {path}",
        )
    gid = group_id(operator_group)
    wanted = 0o700 if gid is None else 0o710
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~0o710 and not _holds_sockets_alone(path):
        raise Denied(
            f"{path} has mode {mode:04o} and other files in it, expected a directory of the"
            " socket's own",
            hint=f"export STACKCTL_SOCKET={path / 'stackctl' / 'stackctld.sock'}",
        )
    if gid is not None:
        _give_to_group(path, gid, operator_group)
        _warn_of_closed_parents(path, gid, operator_group)
    path.chmod(wanted)


def _holds_sockets_alone(path: Path) -> bool:
    with os.scandir(path) as entries:
        return all(stat.S_ISSOCK(e.stat(follow_symlinks=False).st_mode) for e in entries)


def _give_to_group(path: Path, gid: int, name: str) -> None:
    try:
        os.chown(path, -1, gid)
    except PermissionError as err:
        raise BadConfig(
            f'daemon.operator_group "{name}": uid {os.getuid()} is not a member of it,'
            " and only a member may open the socket to it",
            hint=f'sudo usermod -aG {name} "$(id -un)"',
        ) from err


def _warn_of_closed_parents(path: Path, gid: int, name: str) -> None:
    """Log the first directory above the socket's that the group cannot pass."""
    for parent in path.resolve().parents:
        found = parent.stat()
        bit = stat.S_IXGRP if found.st_gid == gid else stat.S_IXOTH
        if not found.st_mode & bit:
            log.warning("socket_out_of_reach group=%s closed_directory=%s", name, parent)
            return


def bind(path: Path, *, operator_group: str = "") -> socket.socket:
    """Give a listening socket at ``path``, replacing a dead one.

    Raises:
        Conflict: a daemon answers there.
        Denied: the directory is not safe.
    """
    secure_directory(path.parent, operator_group=operator_group)
    live = probe(path)
    if live is not None:
        raise already_running(live)
    gid = group_id(operator_group)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # 0177: nobody else can connect in the moment between bind and rename.
    old = os.umask(0o177)
    try:
        sock.bind(str(temporary))
    except OSError as err:
        sock.close()
        raise Failed(f"binding {path} failed: {err}", hint=f"ls -ld {path.parent}") from err
    finally:
        os.umask(old)
    if gid is not None:
        _give_to_group(temporary, gid, operator_group)
        temporary.chmod(0o660)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    temporary.rename(path)
    return sock


def probe(path: Path) -> int | None:
    """Give the pid of whoever answers at ``path``; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PROBE_TIMEOUT_S)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except (BlockingIOError, TimeoutError):
            return 0  # its queue is full: somebody holds it
        except OSError as err:
            raise Failed(f"probing {path} failed: {err}", hint=f"ls -l {path}") from err
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return int(_UCRED.unpack(raw)[0])
