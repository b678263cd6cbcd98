"""Analytics: takes events, keeps them durable, and sums them up.

Refuses to wait for DuckDB when it takes events: they are acknowledged by the segment log alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, get_args

from stackctl.contracts.analytics import EventPage, Query, QueryResult, SqlRequest
from stackctl.contracts.event import Event, EventKind, Summary
from stackctl.contracts.system import AreaHealth
from stackctl.errors import Invalid, StackctlError
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics import console
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.loader import Loader
from stackctl_daemon.analytics.query_plan import plan
from stackctl_daemon.analytics.question import answer, page
from stackctl_daemon.analytics.reader import Reader
from stackctl_daemon.analytics.segment_log import SegmentLog
from stackctl_daemon.analytics.store import Store

MAX_BATCH = 10_000
MAX_WINDOW_S = 31_536_000
QUERY_TIMEOUT_S = 20.0
KINDS: tuple[str, ...] = get_args(EventKind)
T = TypeVar("T")
_INLINE_EVENTS = 1000  # encoding this many takes 2 ms; more would hold the loop up


class AnalyticsService:
    """The event sink of every area, over one directory ``data_dir/analytics``."""

    def __init__(self, settings: AnalyticsSettings, data_dir: Path):
        directory = data_dir / "analytics"
        self._log = SegmentLog(directory / "segments", flush_interval_s=settings.flush_interval_s)
        store = Store(directory / "analytics.duckdb")
        self._reader = Reader(store)
        self._console = Reader(store)
        """For SQL of people, behind which no question of the dashboard waits."""
        self._loader = Loader(
            self._log,
            store,
            load_interval_s=settings.load_interval_s,
            retention_days=settings.retention_days,
        )
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="analytics-encode")

    @property
    def dropped(self) -> int:
        """Emitted events that were lost since the start."""
        return self._log.dropped

    async def start(self) -> None:
        """Recover the log and take events; DuckDB is opened in the background.

        Raises:
            DiskFull, Failed: the log's directory cannot be used.
        """
        await asyncio.to_thread(self._log.open)
        self._loader.start()

    async def close(self) -> None:
        """Write what waits, load it, and close; closing twice is harmless."""
        await asyncio.to_thread(self._log.close)
        await asyncio.to_thread(self._loader.close)
        self._reader.close()
        self._console.close()
        self._encoder.shutdown(wait=False)

    async def record(self, events: Sequence[Event]) -> None:
        """Return when the events are on disk.

        Raises:
            Invalid: an event is out of range; none of the batch is stored.
            DiskFull: there is no space for them; nothing of the batch counts as stored.
            Overloaded: the bounded queue is full.
            TooLarge: the batch is above 16 MiB.
        """
        if not events:
            return
        if len(events) <= _INLINE_EVENTS:
            frame = encode_frame(events)
        else:
            loop = asyncio.get_running_loop()
            frame = await loop.run_in_executor(self._encoder, encode_frame, events)
        await self._log.append(frame)

    def emit(self, event: Event) -> None:
        """Queue an event of our own without waiting; one that is lost counts in ``dropped``."""
        self._log.offer(event)

    async def summary(self, window_s: float = 3600.0) -> Summary:
        """Give counts and exact quantiles of the last ``window_s`` seconds, the newest included.

        Raises:
            Invalid: the window is not 1 to 31,536,000 seconds.
            StoreCorrupt: the store is damaged; events are still taken.
            Overloaded, Conflict, Failed: the store cannot answer now.
        """
        if not 1 <= window_s <= MAX_WINDOW_S:
            raise Invalid(f"window_s is {window_s}, expected 1 to {MAX_WINDOW_S}")
        await self._settle_emits()
        return await asyncio.wrap_future(
            self._loader.submit(lambda: self._loader.summarise(window_s))
        )

    async def query(self, query: Query) -> QueryResult:
        """Answer a typed question, the newest events included.

        Raises:
            Invalid: a field, measure or value does not fit; the message names it.
            TimedOut: it took longer than 20 s.
            StoreCorrupt, Overloaded, Conflict, Failed: the store cannot answer now.
        """
        now_us = time.time_ns() // 1000
        try:
            plan(query, now_us)  # what is wrong is said before anything is loaded
        except Invalid as err:
            err.hint = err.hint or "stackctl analytics query --help"
            raise
        return await self._read(lambda cursor: answer(cursor, query, now_us), QUERY_TIMEOUT_S)

    async def sql(self, request: SqlRequest) -> QueryResult:
        """Answer one SELECT over events and rollups; it can neither write nor read files.

        Raises:
            Invalid: it is something else, or wrong.
            TimedOut: it took longer than it asked for.
            TooLarge: the answer is above 8 MiB.
            StoreCorrupt, Overloaded, Conflict, Failed: the store cannot answer now.
        """
        return await self._read(
            lambda cursor: console.run(cursor, request), request.timeout_s, self._console
        )

    async def events(self, after_seq: int = -1, limit: int = 100, kind: str = "") -> EventPage:
        """Give events behind a number, oldest first; behind -1 the last ``limit`` of them.

        Raises:
            Invalid: there is no such kind.
            StoreCorrupt, Overloaded, Conflict, Failed: the store cannot answer now.
        """
        if kind and kind not in KINDS:
            raise Invalid(f'kind is "{kind}", expected {", ".join(KINDS)}')
        return await self._read(
            lambda cursor: page(cursor, after_seq, limit, kind), QUERY_TIMEOUT_S
        )

    async def repair(self) -> list[str]:
        """Rebuild a damaged store from the segments still here; give what was done, in words."""
        return await asyncio.wrap_future(self._loader.submit(self._loader.repair))

    def health(self) -> AreaHealth:
        """Say whether events reach the store, and what was lost."""
        failure = self._loader.failure
        if failure is not None:
            return AreaHealth(
                name="analytics", state="degraded", reason=failure.message, hint=failure.hint
            )
        problems = list(dict.fromkeys([*self._log.problems, *self._loader.problems]))
        if self.dropped:
            problems.append(f"{self.dropped} emitted events were dropped")
        if self._loader.crowded:
            problems.append(
                "too many groups to count each by minute, figures by name, model, device or user "
                "are read from events"
            )
        if problems:
            return AreaHealth(name="analytics", state="degraded", reason="; ".join(problems[:5]))
        return AreaHealth(name="analytics", state="ready")

    async def _read(
        self, work: Callable[[Any], T], timeout_s: float, reader: Reader | None = None
    ) -> T:
        await self._settle_emits()
        await asyncio.wrap_future(self._loader.submit(self._loader.freshen))
        return await (reader or self._reader).run(work, timeout_s)

    async def _settle_emits(self) -> None:
        try:
            await self._log.flush()
        except StackctlError:
            # A full disk must not hide the figures that are there; the drop is counted.
            return
