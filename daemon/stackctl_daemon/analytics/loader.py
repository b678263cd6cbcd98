"""The loader: one thread that owns the store, fills it from the segment log and answers from it.

Refuses to acknowledge anything: what it reads is durable already, so a failure here (full disk,
damaged store) delays events and loses none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from stackctl.contracts.event import Summary
from stackctl.errors import DiskFull, Failed, Overloaded, StackctlError, StoreCorrupt
from stackctl_daemon.analytics.retention import Retention
from stackctl_daemon.analytics.segment_log import NO_SPACE, Position, SegmentLog
from stackctl_daemon.analytics.segment_reader import count_events, read_batch
from stackctl_daemon.analytics.store import Store
from stackctl_daemon.failpoints import failpoint

log = logging.getLogger(__name__)
T = TypeVar("T")

KEEP_S = 86_400.0
KEEP_BYTES = 256 << 20
"""Loaded segments stay this long and this large, so that a damaged store can be rebuilt."""
FRESH_S = 1.0
"""How long a summary may load before it answers with what is there."""
CLOSE_S = 5.0
_SKEW_S = 60.0  # events of a clock that is a little ahead belong to the window
_LOOK_S = 60.0


class Loader:
    """Runs loads every ``load_interval_s`` and, between their transactions, what is submitted."""

    def __init__(
        self,
        segments: SegmentLog,
        store: Store,
        *,
        load_interval_s: float,
        retention_days: int,
        keep_s: float = KEEP_S,
        keep_bytes: int = KEEP_BYTES,
        now: Callable[[], float] = time.time,
    ):
        self.failure: StackctlError | None = None
        """Why the last load failed; None when it went well."""
        self.problems: list[str] = []
        """Damage met in segments, in words."""
        self.crowded = False
        """Rollups of the last day hold groups that are not told apart."""
        self._log = segments
        self._store = store
        self._interval_s = load_interval_s
        self._retention = Retention(retention_days, now=now)
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._now = now
        self._corrupt: StoreCorrupt | None = None
        self._counts: dict[int, int] = {}
        self._next_look = 0.0
        self._closing = False
        # Any: each job carries its own result type.
        self._jobs: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue(64)
        self._thread = threading.Thread(target=self._run, name="analytics-loader", daemon=True)

    def start(self) -> None:
        """Start the thread; the store is opened there."""
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job in the loader's thread.

        Raises:
            Overloaded: 64 jobs wait already.
            Failed: the loader has ended.
        """
        if self._closing or not self._thread.is_alive():
            raise Failed("the analytics store is closed", hint="stackctl status")
        future: Future[T] = Future()
        try:
            self._jobs.put_nowait((job, future))
        except queue.Full:
            raise Overloaded("too many questions to analytics", retry_after_s=0.5) from None
        return future

    def close(self) -> None:
        """Load what is left, for some seconds at most, and end; blocks."""
        self._closing = True
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def summarise(self, window_s: float) -> Summary:
        """Load what is durable, then give the figures; run it through `submit`."""
        self.freshen()
        now_s = self._now()
        since, until = int((now_s - window_s) * 1e6), int((now_s + _SKEW_S) * 1e6)
        try:
            rows, stored = self._store.summary(since, until)
        except StoreCorrupt as err:
            self._corrupt = err
            raise
        pending = self._pending(self._store.position)
        return Summary(window_s=window_s, rows=rows, events_stored=stored, events_pending=pending)

    def freshen(self) -> None:
        """Load what is durable, for a second at most; run it through `submit`."""
        # A full disk must not hide the figures that are there; what waits counts as pending.
        with suppress(DiskFull):
            self.load(time.monotonic() + FRESH_S)

    def repair(self) -> list[str]:
        """Set a damaged store aside and rebuild it from the segments; run it through `submit`."""
        self._corrupt = None
        try:
            count = self._store.check()
        except StoreCorrupt as err:
            reason = err.message
        else:
            return [f"{self._store.path.name} is sound: {count} events, nothing to repair"]
        actions = [reason]
        actions += [f"set aside as {path}" for path in self._store.set_aside()]
        self.load(float("inf"))
        count = self._store.check()
        self.failure = None
        actions.append(f"rebuilt with {count} events from {len(self._log.segments())} segments")
        actions.append(
            f"events loaded more than {self._keep_s / 3600:.0f} hours or {self._keep_bytes >> 20} "
            "MiB of segments ago are only in the file set aside, and cannot be recovered"
        )
        return actions

    def load(self, deadline: float, *, polite: bool = False) -> bool:
        """Move durable frames into the store until none is left or ``deadline`` (monotonic).

        ``polite``: stop between transactions when a job waits. True when nothing is left.
        """
        self._check_sound()
        try:
            while (step := self._next_range()) is not None:
                segment, start, end = step
                batch = read_batch(self._log.path(segment), start, end)
                if batch.damaged:
                    self._report(segment, *batch.damaged)
                self._store.insert(batch.rows, Position(segment, batch.next))
                if time.monotonic() > deadline or (polite and not self._jobs.empty()):
                    return False
        except StoreCorrupt as err:
            self._corrupt = err
            raise
        except DiskFull:
            # Room for new events is worth more than the means to rebuild old ones.
            # What is told is the full disk, also where nothing of it can be had back.
            with suppress(StackctlError):
                self.drop_segments(all_loaded=True)
            raise
        except OSError as err:
            raise Failed(f"a segment cannot be read: {err}") from err
        return True

    def drop_segments(self, *, all_loaded: bool = False) -> list[int]:
        """Delete loaded segments, those too old or too many; never the newest or an unloaded one.

        ``all_loaded``: the others too, to give their space back.

        Raises:
            DiskFull, Failed: the file system refused.
        """
        try:
            return self._drop_segments(all_loaded)
        except OSError as err:
            kind = DiskFull if err.errno in NO_SPACE else Failed
            raise kind(
                f"a loaded segment cannot be removed: {err}", hint=f"df -h {self._log.directory}"
            ) from err

    def _drop_segments(self, all_loaded: bool) -> list[int]:
        loaded = [n for n in self._log.segments()[:-1] if n < self._store.position.segment]
        sizes = {n: self._log.path(n).stat() for n in loaded}
        total = sum(s.st_size for s in sizes.values())
        dropped = []
        for segment, stat in sizes.items():
            young = self._now() - stat.st_mtime <= self._keep_s
            if young and total <= self._keep_bytes and not all_loaded:
                break
            failpoint("segment.drop.before_unlink")
            self._log.path(segment).unlink()
            failpoint("segment.drop.after_unlink")
            self._counts.pop(segment, None)
            total -= stat.st_size
            dropped.append(segment)
        return dropped

    def _run(self) -> None:
        # Importing DuckDB holds the interpreter's lock: let the daemon become ready first.
        due = time.monotonic() + min(self._interval_s, 1.0)
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                done = self._guarded(self._tick)
                due = time.monotonic() + self._interval_s if done is not False else 0.0
                continue
            if job is None:
                break
            work, future = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as err:  # handed to whoever asked
                    future.set_exception(err)
        self._guarded(lambda: self.load(time.monotonic() + CLOSE_S))
        self._guarded(self._store.close)
        while not self._jobs.empty():  # submitted while `close` was called
            late = self._jobs.get_nowait()
            if late is not None:
                late[1].set_exception(Failed("the analytics store is closed"))

    def _tick(self) -> bool:
        done = self.load(float("inf"), polite=True)
        self.drop_segments()
        self._store.compact()
        cutoff_us = self._retention.cutoff_us(self._store.share_before) if done else None
        if cutoff_us is not None:
            dropped = self._store.drop_before(cutoff_us)
            self._retention.done()
            if dropped:
                log.info("events_expired count=%d", dropped)
        if done and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_S
            self.crowded = self._store.overflowing()
        return done

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Run one piece of the thread's own work; it must outlive every failure."""
        failure: StackctlError
        try:
            result = work()
        except StackctlError as err:
            failure = err
        except Exception as err:
            log.exception("load_failed")
            failure = Failed(f"loading events failed: {err}")
        else:
            self.failure = None
            return result
        if self.failure is None or self.failure.code != failure.code:
            log.error("load_failed code=%s error=%s", failure.code, failure)
        self.failure = failure
        return None

    def _check_sound(self) -> None:
        if self._corrupt is not None:
            raise StoreCorrupt(self._corrupt.message, hint=self._corrupt.hint)

    def _next_range(self) -> tuple[int, int, int] | None:
        position, end = self._store.position, self._log.end
        if position == end:
            return None
        if position.segment > end.segment:
            # The segments were replaced behind our back: numbers mean nothing, ids still do.
            self.problems.append(f"segments before {position.segment} are gone")
            self._store.insert([], Position(0, 0))
            position = Position(0, 0)
        return next(self._ranges(position, end), None)

    def _ranges(self, position: Position, end: Position) -> Any:
        for segment in self._log.segments():
            if position.segment <= segment <= end.segment:
                start = position.offset if segment == position.segment else 0
                sealed = segment < end.segment
                stop = self._log.path(segment).stat().st_size if sealed else end.offset
                if start < stop:
                    yield segment, start, stop

    def _pending(self, position: Position) -> int:
        end = self._log.end
        total = 0
        for segment, start, stop in self._ranges(position, end):
            if start > 0 or segment == end.segment:
                total += count_events(self._log.path(segment), start, stop)
                continue
            if segment not in self._counts:
                self._counts[segment] = count_events(self._log.path(segment), start, stop)
            total += self._counts[segment]
        return total

    def _report(self, segment: int, start: int, end: int) -> None:
        name = self._log.path(segment).name
        problem = f"{name}: bytes {start} to {end} are damaged, events there are lost"
        log.error("segment_damaged segment=%s start=%d end=%d", name, start, end)
        if problem not in self.problems:
            self.problems.append(problem)
