"""What a daemon that was killed leaves half done; refuses to touch what somebody still makes."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STAGING, TRASH = ".import-", ".removed-"
"""What folders of the store begin with that no model is in, or none any more."""
_EXPORT = ".stackctl-export-"
_OURS = re.compile(re.escape(_EXPORT) + "[a-z0-9_]{8}")
WHOLE = "whole"
"""What an export's folder holds, and nothing else."""


def sweep(root: Path) -> None:
    """Delete what imports and removals left in the store; its owner alone may, at its start."""
    for prefix in (STAGING, TRASH):
        for left in root.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
    for pattern in ("*/.write-*", "*/.graph-*"):
        for file in root.glob(pattern):
            with suppress(OSError):
                file.unlink()


@contextmanager
def export_staging(beside: Path) -> Iterator[Path]:
    """Give a folder beside an export's target, and delete those of exports that were killed.

    A lock on the folder says that it is in use: the kernel drops it with the process.

    Raises:
        OSError: it cannot be made.
    """
    _sweep_exports(beside)
    made, handle = _locked_folder(beside)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def _locked_folder(beside: Path) -> tuple[Path, int]:
    while True:
        made = Path(tempfile.mkdtemp(prefix=_EXPORT, dir=beside))
        with suppress(FileNotFoundError):
            handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: nothing is swept there either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if made.exists():
                return made, handle
            os.close(handle)  # swept by another export before we had the lock


def _sweep_exports(folder: Path) -> None:
    for left in folder.glob(f"{_EXPORT}*"):
        if not _OURS.fullmatch(left.name):
            continue
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                names = set(os.listdir(handle))  # noqa: PTH208 - of the folder that is open
                if os.fstat(handle).st_uid == os.getuid() and names <= {WHOLE}:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)
