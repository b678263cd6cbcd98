"""Failpoints: named places before and after what touches the disk, where a test can strike.

Refuses to act unless ``STACKCTL_FAILPOINTS`` armed the process: then, and only then, the daemon's
entry calls `arm`. A global and no dependency, because a place that is passed ten thousand times a
second may cost one comparison. The grammar is ``NAME=ACTION[@N]`` joined by ``;``: the action
happens at the n-th pass (the first by default) and never again.

    kill           SIGKILL to this process, as a crash would
    error:ENOSPC   the OSError of that name; where bytes are written, after half of them
    torn[:BYTES]   so many of the bytes (half by default) are written, then as kill
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
from dataclasses import dataclass
from typing import Literal

from stackctl.errors import BadConfig

log = logging.getLogger(__name__)

VARIABLE = "STACKCTL_FAILPOINTS"
Action = Literal["kill", "error", "torn"]

_ACTION = re.compile(
    r"(?:kill|error:(?P<errno>E[A-Z0-9]+)|(?P<torn>torn)(?::(?P<size>\d+))?)(?:@(?P<nth>[1-9]\d*))?"
)
_BEFORE: tuple[Action, ...] = ("kill", "error")
_WRITE: tuple[Action, ...] = ("kill", "error", "torn")
_AFTER: tuple[Action, ...] = ("kill",)
POINTS: dict[str, tuple[Action, ...]] = {
    "segment.directory.before_mkdir": _BEFORE,
    "segment.directory.before_sync": _BEFORE,
    "segment.rotate.before_create": _BEFORE,
    "segment.rotate.before_sync": _BEFORE,
    "segment.rotate.before_unlink": _BEFORE,
    "segment.rotate.after_sync": _AFTER,
    "segment.append.before_write": _WRITE,
    "segment.append.before_fsync": _BEFORE,
    "segment.append.after_fsync": _AFTER,
    "segment.cut.before_truncate": _BEFORE,
    "segment.recover.before_truncate": _BEFORE,
    "segment.recover.before_fsync": _BEFORE,
    "segment.drop.before_unlink": _BEFORE,
    "segment.drop.after_unlink": _AFTER,
    "store.create.before_unlink": _BEFORE,
    "store.create.before_connect": _BEFORE,
    "store.create.before_rename": _BEFORE,
    "store.create.before_sync": _BEFORE,
    "store.create.after_sync": _AFTER,
    "store.open.before_connect": _BEFORE,
    "store.migrate.before_commit": _BEFORE,
    "store.migrate.after_commit": _AFTER,
    "store.insert.before_rows": _BEFORE,
    "store.insert.before_offset": _BEFORE,
    "store.insert.before_commit": _BEFORE,
    "store.insert.after_commit": _AFTER,
    "store.compact.before_commit": _BEFORE,
    "store.compact.after_commit": _AFTER,
    "store.retention.before_commit": _BEFORE,
    "store.retention.after_commit": _AFTER,
    "store.set_aside.before_rename": _BEFORE,
    "store.set_aside.after_rename": _AFTER,
    "store.set_aside.before_sync": _BEFORE,
    "store.close.before_close": _AFTER,
}
"""Every failpoint of the daemon, and the actions that make sense there."""


@dataclass(slots=True)
class _Strike:
    """What happens at one failpoint."""

    action: Action
    passes_left: int
    errno: int = 0
    size: int | None = None


_lock = threading.Lock()
_armed: dict[str, _Strike] | None = None


def failpoint(name: str, fd: int = -1, data: memoryview | bytes = b"", at: int = 0) -> None:
    """Do nothing, or what the process was armed to do here.

    Args:
        name: one of `POINTS`.
        fd: the file that is about to be written, where one is.
        data: what is about to be written there, at the offset ``at``.

    Raises:
        OSError: this place was armed with ``error``.
    """
    if _armed is not None:
        _pass(_armed, name, fd, data, at)


def arm(text: str) -> None:
    """Arm this process as the text says; an empty one disarms it.

    Raises:
        BadConfig: a part of the text is no failpoint, or no action that makes sense there.
    """
    global _armed  # noqa: PLW0603 - see the module's docstring
    strikes = dict(_parse(part.strip()) for part in text.split(";") if part.strip())
    _armed = strikes or None
    if strikes:
        log.warning("failpoints_armed %s", text)


def _parse(part: str) -> tuple[str, _Strike]:
    name, _, text = part.partition("=")
    if name not in POINTS:
        raise BadConfig(
            f'{VARIABLE}: no failpoint "{name}", expected one of: {", ".join(POINTS)}',
            hint=f"unset {VARIABLE}",
        )
    strike = _strike(text)
    if strike is None or strike.action not in POINTS[name]:
        raise BadConfig(
            f'{VARIABLE}: {name}="{text}", expected one of: {", ".join(POINTS[name])}, '
            "such as error:ENOSPC or kill@3",
            hint=f"unset {VARIABLE}",
        )
    return name, strike


def _strike(text: str) -> _Strike | None:
    found = _ACTION.fullmatch(text)
    if found is None:
        return None
    nth = int(found["nth"] or "1")
    if found["errno"]:
        number = getattr(errno, found["errno"], None)
        return _Strike("error", nth, errno=number) if isinstance(number, int) else None
    if found["torn"]:
        return _Strike("torn", nth, size=int(found["size"]) if found["size"] else None)
    return _Strike("kill", nth)


def _pass(
    armed: dict[str, _Strike], name: str, fd: int, data: memoryview | bytes, at: int
) -> None:
    if name not in POINTS:
        raise AssertionError(f"failpoint {name} is not among POINTS")
    strike = armed.get(name)
    if strike is None:
        return
    with _lock:
        strike.passes_left -= 1
        if strike.passes_left != 0:
            return
    log.warning("failpoint_struck name=%s action=%s", name, strike.action)
    if strike.action != "kill" and fd >= 0:
        os.pwrite(fd, data[: len(data) // 2 if strike.size is None else strike.size], at)
    if strike.action == "error":
        raise OSError(strike.errno, os.strerror(strike.errno))
    os.kill(os.getpid(), signal.SIGKILL)
