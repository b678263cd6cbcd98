"""Starts the daemon for the first command that needs it; refuses to manage it afterwards."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from stackctl import paths
from stackctl.client.transport import MAX_UNIX_PATH_BYTES, connect
from stackctl.errors import BadConfig, Conflict, StackctlError, Unreachable, rebuild

START_TIMEOUT_S = 60.0
LOSER_PATIENCE_S = 5.0  # how long another start may take to listen
BIND_SUFFIX_BYTES = 9
"""A socket is bound as ``.NAME.PID`` and then renamed; a pid has at most seven digits."""


def start() -> None:
    """Start the daemon and return when it is ready.

    ``stackctld`` detaches itself and ends with 0 once it serves. When two commands start it at
    once, one daemon wins the lock; the other command finds it there and is content.

    Raises:
        BadConfig: the daemon refuses its configuration, or the socket's path is too long.
        Unreachable: it did not come up, with what it said.
    """
    check_length(paths.socket_path())
    # Deferred: only the command that starts the daemon pays for these.
    import subprocess
    import tempfile

    # A file, not a pipe: the detached daemon would keep a pipe open and we would wait for ever.
    with tempfile.TemporaryFile() as said:
        try:
            status = subprocess.run(
                # -P: no module of the folder that the user happens to be in stands for ours.
                [sys.executable, "-P", "-m", "stackctl_daemon.main"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=START_TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as err:
            raise Unreachable(
                f"the daemon was not ready in {START_TIMEOUT_S:g} s", hint="stackctl logs"
            ) from err
        if status == 0:
            return
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if _listens(LOSER_PATIENCE_S if status == Conflict.exit_code else 0.0):
        return
    raise _failure(status, text)


def check_length(path: Path) -> None:
    """Refuse a socket that the daemon could not bind.

    Raises:
        BadConfig: the path is too long; the fix names a short one.
    """
    length = len(os.fsencode(path))
    if length <= MAX_UNIX_PATH_BYTES - BIND_SUFFIX_BYTES:
        return
    # Deferred: as above. The name tells stacks with long homes apart.
    import zlib

    folder = Path(f"/tmp/stackctl-{os.getuid()}")  # noqa: S108 - its owner and mode are checked
    short = folder / f"{zlib.crc32(os.fsencode(path)):08x}.sock"
    raise BadConfig(
        f"the socket's path has {length} bytes, expected at most"
        f" {MAX_UNIX_PATH_BYTES - BIND_SUFFIX_BYTES} (a Unix socket's limit of"
        f" {MAX_UNIX_PATH_BYTES} bytes, less {BIND_SUFFIX_BYTES} for a temporary name): {path}",
        hint=f"export STACKCTL_SOCKET={short}",
    )


def _listens(patience_s: float) -> bool:
    """Tell whether somebody else's start succeeded, giving it the time of a start."""
    try:
        connect(paths.socket_path(), 5.0, patience_s=patience_s).close()
    except StackctlError:
        return False
    return True


def _failure(status: int, text: str) -> StackctlError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("stackctld: ") for line in lines if line.startswith("stackctld: ")]
    fixes = [line.removeprefix("fix: ") for line in lines if line.startswith("fix: ")]
    said = errors[-1] if errors else (lines[-1] if lines else "it said nothing")
    # The system's own refusal (a full disk, a home that may not be written) needs no class name.
    system = re.fullmatch(r"\w+: \[Errno \d+\] ([^:]+): '(.+)'", said)
    if system:
        said = f"{system[2]}: {system[1].lower()}"
    code = "bad_config" if status == 78 else "unreachable"
    message = said if status == 78 else f"the daemon did not start (status {status}): {said}"
    return rebuild(code, message, hint=fixes[-1] if fixes else "stackctl doctor")
