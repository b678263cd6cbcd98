"""The segment log: events are acknowledged when they are on disk here.

Append-only files ``events-<seq>.log``; everything that waits is written and synced together (group
commit). Refuses to know DuckDB. One writer thread; `append` and `offer` are its bounded front.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from stackctl.contracts.event import Event
from stackctl.errors import DiskFull, Failed, Invalid, Overloaded, StackctlError, TooLarge
from stackctl_daemon.analytics import directory as directories
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.segment_reader import recover
from stackctl_daemon.failpoints import failpoint

log = logging.getLogger(__name__)

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a system call says of a disk that is full, or full for us."""
_NAME = re.compile(r"events-(\d{16})\.log")


class Position(NamedTuple):
    """A place in the log; places compare in the order of writing."""

    segment: int
    offset: int


class SegmentLog:
    """Segments in one directory. `open` and `close` block: call them from a thread."""

    def __init__(
        self,
        directory: Path,
        *,
        flush_interval_s: float = 0.002,
        segment_bytes: int = 16 << 20,
        max_queued_bytes: int = 16 << 20,
        max_queued_emits: int = 10_000,
    ):
        self.directory = directory
        self.problems: list[str] = []
        """Damage found by `open`, in words."""
        self.dropped = 0
        """Offered events that are lost: queue full, invalid, or no space on the disk."""
        self.end = Position(0, 0)
        """Everything before it is durable."""
        self._flush_interval_s = flush_interval_s
        self._segment_bytes = segment_bytes
        self._max_queued_bytes = max_queued_bytes
        self._max_queued_emits = max_queued_emits
        self._wake = threading.Condition()
        self._frames: list[tuple[bytes, asyncio.Future[None]]] = []
        self._queued_bytes = 0
        self._emits: list[Event] = []
        self._closing = True
        self._fd = -1
        self._next = 0
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Recover the last segment, then take events.

        A torn tail (a write that nobody was told of) is cut off. Writing goes on in a new
        segment, so that what was recovered never changes again.

        Raises:
            DiskFull, Failed: the directory or the last segment cannot be used.
        """
        try:
            self._prepare()
        except OSError as err:
            raise self._translate(err) from err
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="analytics-log", daemon=True)
        self._thread.start()

    async def append(self, frame: bytes) -> None:
        """Return when the frame is on disk.

        Raises:
            DiskFull: there is no room; nothing of the frame counts as stored.
            Overloaded: too much is waiting already.
            Failed: the disk refused for another reason, or the log is closed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._wake:
            if self._closing:
                raise Failed("the event log is closed", hint="stackctl status")
            # One frame is always let in, so that a large one cannot be refused for ever.
            if self._frames and self._queued_bytes + len(frame) > self._max_queued_bytes:
                raise Overloaded(
                    f"{self._queued_bytes} bytes of events wait for the disk", retry_after_s=0.1
                )
            self._frames.append((frame, future))
            self._queued_bytes += len(frame)
            self._wake.notify()
        await future

    async def flush(self) -> None:
        """Return when everything offered before is on disk or counted as dropped.

        Raises:
            DiskFull, Overloaded, Failed: as `append`.
        """
        await self.append(b"")

    def offer(self, event: Event) -> bool:
        """Queue an event without waiting, from any thread; False when it was dropped."""
        with self._wake:
            if self._closing or len(self._emits) >= self._max_queued_emits:
                self.dropped += 1  # the writer counts under the same lock
                return False
            self._emits.append(event)
            if len(self._emits) == 1:
                self._wake.notify()
            return True

    def close(self) -> None:
        """Write what waits and end the writer; closing twice is harmless."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def segments(self) -> list[int]:
        """Numbers of the segments on disk, oldest first."""
        if not self.directory.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, segment: int) -> Path:
        """Path of a segment."""
        return self.directory / f"events-{segment:016d}.log"

    def _prepare(self) -> None:
        directories.make(self.directory)
        found = self.segments()
        if not found:
            # Larger than any number used before somebody emptied the directory.
            self._next = time.time_ns() // 1_000_000
            return
        last = found[-1]
        size, problems = recover(self.path(last))
        self.problems += problems
        self.end = Position(last, size)
        self._next = last + 1

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._frames or self._emits or self._closing):
                    self._wake.wait()
                if not self._frames and not self._closing:
                    # Nobody waits for offered events: let more of them share the sync.
                    self._wake.wait(self._flush_interval_s)
                frames, self._frames, self._queued_bytes = self._frames, [], 0
                emits, self._emits = self._emits, []
                if not frames and not emits:
                    return
            self._commit(frames, emits)

    def _commit(
        self, frames: Sequence[tuple[bytes, asyncio.Future[None]]], emits: Sequence[Event]
    ) -> None:
        blobs = [frame for frame, _ in frames]
        kept = 0
        for count, blob in self._encode_emits(emits):
            blobs.append(blob)
            kept += count
        failure: OSError | None = None
        try:
            data = b"".join(blobs)
            if data:
                self._write(data)
        except OSError as err:
            failure = err
            self._drop(kept)
            log.error("events_not_stored frames=%d error=%s", len(frames), err)
        if frames:
            loop = frames[0][1].get_loop()
            try:
                loop.call_soon_threadsafe(self._settle, [f for _, f in frames], failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                log.warning("events_unclaimed frames=%d", len(frames))

    def _encode_emits(self, emits: Sequence[Event]) -> list[tuple[int, bytes]]:
        if not emits:
            return []
        try:
            return [(len(emits), encode_frame(emits))]
        except (Invalid, TooLarge):
            pass
        found = []
        for event in emits:
            try:
                found.append((1, encode_frame([event])))
            except (Invalid, TooLarge) as err:
                self._drop(1)
                log.warning("event_dropped name=%r reason=%s", event.name, err)
        return found

    def _drop(self, count: int) -> None:
        with self._wake:
            self.dropped += count

    def _settle(self, futures: Sequence[asyncio.Future[None]], failure: OSError | None) -> None:
        for future in futures:
            if future.done():  # its caller was cancelled
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(self._translate(failure))

    def _write(self, data: bytes) -> None:
        if self._fd < 0 or self.end.offset >= self._segment_bytes:
            self._rotate()
        start = self.end.offset
        try:
            view, at = memoryview(data), start
            while view:
                failpoint("segment.append.before_write", self._fd, view, at)
                written = os.pwrite(self._fd, view, at)
                view, at = view[written:], at + written
        except OSError:
            self._cut(start, abandon=False)
            raise
        try:
            failpoint("segment.append.before_fsync")
            os.fdatasync(self._fd)
            failpoint("segment.append.after_fsync")
        except OSError:
            # After a failed sync nobody knows which pages are on disk: never write here again.
            self._cut(start, abandon=True)
            raise
        self.end = Position(self.end.segment, at)

    def _cut(self, size: int, *, abandon: bool) -> None:
        """Take away what a failed write left, which also gives its space back."""
        try:
            failpoint("segment.cut.before_truncate")
            os.ftruncate(self._fd, size)
        except OSError as err:
            log.error(
                "segment_not_truncated segment=%d size=%d error=%s", self.end.segment, size, err
            )
            abandon = True
        if abandon:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        segment, self._next = self._next, self._next + 1
        path = self.path(segment)
        failpoint("segment.rotate.before_create")
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            failpoint("segment.rotate.before_sync")
            directories.sync(self.directory)
            failpoint("segment.rotate.after_sync")
        except OSError:
            os.close(fd)
            # An empty segment that stays does no harm: its number is not used again.
            with suppress(OSError):
                failpoint("segment.rotate.before_unlink")
                path.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.end = Position(segment, 0)

    def _translate(self, err: OSError) -> StackctlError:
        hint = f"df -h {self.directory}"
        if err.errno in NO_SPACE:
            return DiskFull(f"no space left for events in {self.directory}", hint=hint)
        return Failed(f"events cannot be stored in {self.directory}: {err}", hint=hint)
