"""Finds the files of a source; refuses to read them.

Honours ``.gitignore`` and ``.stackctlignore`` of each folder on the way. No symlink below the
source is followed, as in Git and ripgrep: what it leads to may lie outside of what the person
named, or be found twice, or be a loop. Names are bytes, because not all are UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from stackctl_daemon.search.ignoring import Patterns, compiled

IGNORED_FOLDERS = frozenset(
    b".git .hg .svn node_modules __pycache__ .venv .tox .nox .mypy_cache .ruff_cache"
    b" .pytest_cache .idea .cache".split()
)
"""Folders that hold nothing a person wrote."""
IGNORE_FILES = (b".gitignore", b".stackctlignore")
IGNORE_FILE_MAX_BYTES = 1 << 20

_Scoped = tuple[bytes, Patterns]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be indexed."""

    path: bytes
    size: int
    mtime_ns: int
    root: bytes = b""
    """The source that it was found below; empty when it is the source itself."""


@dataclass(slots=True)
class Walk:
    """What lies under a source."""

    files: list[Found] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)
    """Path and reason of what is there and will not be read."""
    unreadable: list[bytes] = field(default_factory=list)
    """Folders and files that the system would not show: nothing is known of what they hold."""


def shown(path: bytes) -> str:
    """Give a path as text; bytes that are not UTF-8 appear as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


def walk(root: bytes, *, max_file_bytes: int) -> Walk:
    """List the files under ``root``, or ``root`` itself, in the order of their names.

    Raises:
        FileNotFoundError: there is no such path.
    """
    found = Walk()
    info = os.stat(root)  # noqa: PTH116 - names are bytes throughout
    if stat.S_ISDIR(info.st_mode):
        _folders(root, found, max_file_bytes)
    else:
        _add(root, info, found, max_file_bytes)
    return found


def _folders(root: bytes, found: Walk, max_file_bytes: int) -> None:
    waiting: list[tuple[bytes, tuple[_Scoped, ...]]] = [(root, ())]
    while waiting:
        folder, scopes = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as err:
            found.skipped.append((folder, f"folder cannot be read: {err.strerror}"))
            found.unreadable.append(folder)
            continue
        scopes = (*scopes, *_scope(folder, [e.name for e in entries]))
        below: list[tuple[bytes, tuple[_Scoped, ...]]] = []
        for entry in entries:
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                if (is_folder and entry.name in IGNORED_FOLDERS) or _ignored(
                    entry.path, scopes, is_folder=is_folder
                ):
                    continue
                if is_folder:
                    below.append((entry.path, scopes))
                    continue
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError as err:
                found.unreadable.append(entry.path)
                found.skipped.append((entry.path, f"cannot be read: {err.strerror}"))
                continue
            _add(entry.path, info, found, max_file_bytes, root)
        waiting += reversed(below)


def _add(
    path: bytes, info: os.stat_result, found: Walk, max_file_bytes: int, root: bytes = b""
) -> None:
    if stat.S_ISLNK(info.st_mode):
        found.skipped.append((path, "symlink, not followed"))
    elif not stat.S_ISREG(info.st_mode):
        found.skipped.append((path, "not a regular file"))
    elif info.st_size > max_file_bytes:
        found.skipped.append(
            (path, f"{info.st_size} bytes, above max_file_bytes {max_file_bytes}")
        )
    elif info.st_size == 0:
        found.skipped.append((path, "empty"))
    else:
        found.files.append(Found(path, info.st_size, info.st_mtime_ns, root))


def _scope(folder: bytes, names: Sequence[bytes]) -> list[_Scoped]:
    """Read the ignore files of a folder; one that cannot be read counts as empty."""
    scopes: list[_Scoped] = []
    for name in IGNORE_FILES:
        if name not in names:
            continue
        path = os.path.join(folder, name)  # noqa: PTH118 - bytes
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - bytes
                continue
            with open(path, "rb") as file:  # noqa: PTH123 - bytes
                text = file.read(IGNORE_FILE_MAX_BYTES).decode("utf-8", "surrogateescape")
            scopes.append((folder, compiled(text.splitlines())))
        except OSError:
            continue
    return scopes


def _ignored(path: bytes, scopes: Sequence[_Scoped], *, is_folder: bool) -> bool:
    """Ask the innermost ignore file first: the first that has an opinion decides, as in git."""
    for folder, spec in reversed(scopes):
        relative = path[len(folder.rstrip(b"/")) + 1 :].decode("utf-8", "surrogateescape")
        verdict = spec.check_file(relative + "/" if is_folder else relative)
        if verdict.include is not None:
            return bool(verdict.include)
    return False
