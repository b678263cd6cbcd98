"""Small files that are whole or not there at all; refuses to know what is in them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def holds(file: Path, data: bytes) -> bool:
    """Tell whether a file has these bytes."""
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except FileNotFoundError:
        return False


def replace(file: Path, data: bytes) -> None:
    """Write a file in one durable step; its folder exists.

    Raises:
        OSError: it cannot be written, and what was there is there still.
    """
    handle, name = tempfile.mkstemp(prefix=".write-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
