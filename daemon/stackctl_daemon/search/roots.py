"""Paths of sources as they travel, and the disks that they lie on; refuses to list files.

A disk that is not mounted looks like an empty folder. What was indexed from it must outlive that,
so each source remembers the device of its folder and of the disks mounted below it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from stackctl.errors import Invalid, NotFound
from stackctl_daemon.search.walk import shown

FILE_URI = "file://"


class Held(NamedTuple):
    """A folder whose documents are gone in a way that looks like a disk that is not mounted."""

    folder: bytes
    lost: int
    known: int
    moved: bool
    """It lies on another device than when it was indexed."""

    def reason(self) -> str:
        """Say what was seen."""
        what = f'"{shown(self.folder)}"'
        if self.moved:
            said = f"{self.lost} of the {self.known} documents below {what} are gone, and it lies"
            return f"{said} on another device than when it was indexed"
        return f"{what} has nothing left to index, and {self.known} documents came from it"


def parse(path: str) -> bytes:
    """Give the bytes of a path on the wire, normalised, without following links.

    Args:
        path: absolute; or a ``file:`` URI (RFC 8089), for names that are not UTF-8.

    Raises:
        Invalid: it is neither.
    """
    uri = path.startswith(f"{FILE_URI}/")
    raw = unquote_to_bytes(path[len(FILE_URI) :]) if uri else path.encode()
    if b"\0" in raw or not raw.startswith(b"/"):
        raise Invalid(
            f"path {path!r} is not absolute, expected /PATH or {FILE_URI}/PATH",
            hint="stackctl index .",
        )
    return os.path.normpath(raw).replace(b"//", b"/")


def carried(path: bytes) -> str:
    """Give a path as JSON can carry it; `parse` gives it back."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return FILE_URI + quote(path)


def is_below(path: bytes, folder: bytes) -> bool:
    """Say whether a path is a folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def removal(collection: str, paths: Iterable[bytes]) -> str:
    """Give the command that makes a collection forget paths."""
    words = [shlex.quote(shown(path)) for path in paths]
    option = "" if collection == "default" else f" --collection {collection}"
    return f"stackctl index --remove {' '.join(words)}{option}"


def must_exist(roots: Iterable[bytes], known: Collection[bytes], collection: str) -> None:
    """Check that all roots are there; ``known`` are those that hold documents.

    Raises:
        NotFound: one is not there.
        Invalid: one may not be read.
    """
    for root in roots:
        try:
            os.stat(root)  # noqa: PTH116 - names are bytes throughout
        except (FileNotFoundError, NotADirectoryError):
            if root in known:
                raise NotFound(
                    f'path "{shown(root)}" not found; what was indexed from it stays in'
                    f' collection "{collection}"',
                    hint=removal(collection, [root]),
                ) from None
            parent = shlex.quote(shown(os.path.dirname(root)))  # noqa: PTH120 - bytes
            raise NotFound(f'path "{shown(root)}" not found', hint=f"ls {parent}") from None
        except OSError as err:
            raise Invalid(f'path "{shown(root)}" cannot be read: {err.strerror}') from err


def disks(
    root: bytes, files: Iterable[bytes], recorded: Iterable[bytes]
) -> dict[bytes, int | None]:
    """Give the devices below a root; nothing when it is a file.

    Args:
        root: a source.
        files: what was found below it.
        recorded: folders below it that had a device of their own at an earlier time.

    Returns:
        The device of the root, of each folder that lies on another than its parent, and of each
        recorded folder; None for one that is not there.
    """
    if not os.path.isdir(root):  # noqa: PTH112 - bytes
        return {}
    folders = {root}
    for file in files:
        folder = os.path.dirname(file)  # noqa: PTH120 - bytes
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120 - bytes
    found = {folder: _device(folder) for folder in folders}
    mounted = {
        folder: device
        for folder, device in found.items()
        if folder == root or device != found[os.path.dirname(folder)]  # noqa: PTH120 - bytes
    }
    return mounted | {folder: _device(folder) for folder in recorded}


def held(
    root: bytes,
    known: Collection[bytes],
    gone: Collection[bytes],
    *,
    empty: bool,
    was: Mapping[bytes, int],
    now: Mapping[bytes, int | None],
) -> list[Held]:
    """Give the folders whose documents must not be forgotten only because they are not seen.

    That is a root below which nothing is left (``empty``), and a disk (or root) that changed its
    device and lost more than half of its documents: device numbers alone change when a machine
    restarts.
    """
    found: list[Held] = []
    if not now:
        return found
    for folder in sorted({root, *was}):
        if any(is_below(folder, other.folder) for other in found):
            continue
        below = [path for path in known if is_below(path, folder)]
        lost = sum(path in gone for path in below)
        emptied = empty and folder == root and lost == len(below)
        moved = folder in was and now.get(folder) != was[folder] and 2 * lost > len(below)
        if lost and (emptied or moved):
            found.append(Held(folder, lost, len(below), moved))
    return found


def _device(folder: bytes) -> int | None:
    try:
        return os.stat(folder).st_dev  # noqa: PTH116 - bytes
    except OSError:
        return None
