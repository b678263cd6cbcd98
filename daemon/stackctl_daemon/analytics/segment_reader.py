"""Reading segments: recovery of a torn tail, batches for the loader, counts of what waits.

Refuses to write, but for cutting a torn tail off. Damage is skipped and reported, never guessed
at: frames behind it are found again by their prefix and checksum.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from stackctl_daemon.analytics.frame import (
    Row,
    cut_short,
    decode_rows,
    frame_count,
    frame_end,
    next_frame,
)
from stackctl_daemon.failpoints import failpoint

log = logging.getLogger(__name__)

CHUNK_BYTES = 4 << 20
MAX_ROWS = 20_000


@dataclass(slots=True)
class Batch:
    """Rows of consecutive frames of one segment."""

    rows: list[Row] = field(default_factory=list)
    next: int = 0
    """Offset behind the last frame, or behind damage."""
    damaged: tuple[int, int] | None = None
    """Bytes from, to that are no frame; then there are no rows."""


def recover(path: Path) -> tuple[int, list[str]]:
    """Cut the torn tail of the last segment off; give its size and the damage before the tail.

    Only bytes behind the last sound frame are cut. They are a write that was never acknowledged
    and did not come to its end; where they are a whole frame that does not check, they are told
    as damage.
    """
    problems: list[str] = []
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        data = _read(fd, 0, os.fstat(fd).st_size)
        at = 0
        while at < len(data):
            end = frame_end(data, at)
            if end is None:
                end = next_frame(data, at)
                if end is None:
                    log.warning("segment_tail_cut path=%s bytes=%d", path, len(data) - at)
                    if not cut_short(data, at):
                        problems.append(_damage(path, at, len(data)))
                    failpoint("segment.recover.before_truncate")
                    os.ftruncate(fd, at)
                    break
                problems.append(_damage(path, at, end))
            at = end
        # What another process wrote and did not live to sync must be durable before it is loaded.
        failpoint("segment.recover.before_fsync")
        os.fsync(fd)
        return at, problems
    finally:
        os.close(fd)


def read_batch(path: Path, start: int, end: int) -> Batch:
    """Read sound frames from ``start``: about 4 MiB or 20,000 rows, at least one frame."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = _read(fd, start, min(end - start, CHUNK_BYTES))
        batch = _walk(data, start)
        if batch.rows:
            return batch
        # A frame larger than a chunk, or damage: only the whole rest can tell.
        data = _read(fd, start, end - start)
    finally:
        os.close(fd)
    batch = _walk(data, start)
    if not batch.rows:
        sound = next_frame(data, 0)
        batch.next = end if sound is None else start + sound
        batch.damaged = (start, batch.next)
    return batch


def count_events(path: Path, start: int, end: int) -> int:
    """Count the events of the sound frames between two offsets, without decoding them."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = _read(fd, start, end - start)
    finally:
        os.close(fd)
    total, at = 0, 0
    while at < len(data):
        stop = frame_end(data, at)
        if stop is None:
            stop = next_frame(data, at)
            if stop is None:
                break
        else:
            total += frame_count(data, at)
        at = stop
    return total


def _damage(path: Path, start: int, end: int) -> str:
    return f"{path.name}: bytes {start} to {end} are damaged, events there are lost unless loaded"


def _walk(data: bytes, base: int) -> Batch:
    batch = Batch(next=base)
    at = 0
    while at < len(data) and len(batch.rows) < MAX_ROWS:
        end = frame_end(data, at)
        if end is None:
            break
        batch.rows += decode_rows(data, at, end)
        at = end
    batch.next = base + at
    return batch


def _read(fd: int, start: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(fd, size, start)
        if not part:
            break
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)
