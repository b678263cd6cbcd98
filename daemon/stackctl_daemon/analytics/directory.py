"""Directories whose entries outlive a power cut; refuses to know what lies in them."""

from __future__ import annotations

import os
from pathlib import Path

from stackctl_daemon.failpoints import failpoint


def make(directory: Path) -> None:
    """Make a directory and those that are missing above it, and sync the entry of each.

    The entry of ``directory`` itself is synced also when it is there: whoever made it may not
    have lived to do so.

    Raises:
        OSError: the file system refused.
    """
    missing = [directory]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        failpoint("segment.directory.before_mkdir")
        path.mkdir(mode=0o700, exist_ok=True)
        failpoint("segment.directory.before_sync")
        sync(path.parent)


def sync(directory: Path) -> None:
    """Return when the names in a directory are on disk.

    Raises:
        OSError: the file system refused.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
