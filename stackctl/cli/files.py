"""Paths that a user names, as the daemon needs them; refuses to open them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from stackctl.errors import NotFound

_GLOB = re.compile(r"[*?\[]")


def absolute(paths: Sequence[str], *, exist: bool = True) -> list[str]:
    """Give absolute paths, without following links.

    Args:
        paths: as the user typed them; bytes that are not UTF-8 as `os.fsdecode` gives them.
        exist: refuse one that is not there.

    Raises:
        NotFound: one does not exist.
    """
    found = []
    for path in paths:
        full = _absolute(path)
        if exist and not os.path.lexists(full):
            raise _missing(path, full)
        found.append(full)
    return found


def _missing(path: str, full: str) -> NotFound:
    """Name what is there instead: the nearest name, and the folder to look into."""
    # Deferred: only a mistake needs them.
    import shlex
    from difflib import get_close_matches

    folder, name = os.path.split(full)
    while folder != "/" and not os.path.isdir(folder):  # noqa: PTH112 - as in `_absolute`
        folder, name = os.path.split(folder)
    try:
        close = get_close_matches(name, os.listdir(folder), n=1)  # noqa: PTH208
    except PermissionError:
        close = []
    message = f'no file or folder "{as_shown(path)}"'
    if close:
        meant = os.path.join(folder, close[0])  # noqa: PTH118
        message += f'; did you mean "{as_shown(meant)}"?'
    return NotFound(message, hint=f"ls -la {shlex.quote(as_shown(folder))}")


def as_shown(path: str) -> str:
    r"""Give a path as hits show it: bytes that are not UTF-8 as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def narrowed(path: str) -> str:
    """Give what ``search --path`` means: an absolute path, a glob, or a name of any folder.

    What begins with ``/``, ``~`` or a dot folder, or is there in the current directory, is made
    absolute as `absolute` does it. Other names and globs match at any depth.
    """
    if not path:
        return path
    first = path.split("/", 1)[0]
    anchored = first in ("", ".", "..") or first.startswith("~")
    there = os.path.lexists(_absolute(path))
    if not anchored and not there:
        return as_shown(path)
    if _GLOB.search(path) and not there:
        # The glob is the user's; the directory before it means itself.
        home = os.path.expanduser(first)  # noqa: PTH111 - as in `_absolute`
        base = "" if first == "" else home if first.startswith("~") else os.getcwd()  # noqa: PTH109
        rest = path[len(first) :] if first != ".." else f"/{path}"
        return as_shown(os.path.normpath(_literal(base) + rest))
    return as_shown(_literal(_absolute(path)))


def _literal(path: str) -> str:
    """Take their meaning from the characters of a glob."""
    return _GLOB.sub(r"[\g<0>]", path)


def _absolute(path: str) -> str:
    # pathlib's resolve() would follow links.
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
