"""Paths of this machine that a request names: the one place that refuses those that cannot be.

Refuses to open them, and to know what is to be there.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from stackctl.errors import Invalid

_SHOWN = 80


def place(told: str) -> Path:
    """Give the path that a request tells, whether something is there or not.

    Raises:
        Invalid: it is relative, or the system has no such path.
    """
    shown = told if len(told) <= _SHOWN else f"{told[:_SHOWN]}..."
    if not told.startswith("/"):
        raise Invalid(
            f'the path "{shown}" is not absolute, expected one that begins with "/"',
            hint=f"realpath -m {shlex.quote(shown or '.')}",
        )
    path = Path(told)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # for the one who needs it to say
    except (OSError, ValueError) as err:  # ValueError: a NUL, or no text of this file system
        reason = err.strerror if isinstance(err, OSError) else str(err)
        raise Invalid(f"the path {shown!r} cannot be read: {reason}", hint="ls -la /") from err
    return path
