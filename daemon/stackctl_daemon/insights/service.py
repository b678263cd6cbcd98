"""Insights: looks at the events each minute, keeps incidents, answers who asks.

Refuses to read the event store itself: it asks through its port.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stackctl.contracts.insight import Insight, InsightList, Mute
from stackctl.contracts.system import AreaHealth
from stackctl.errors import Invalid, NotFound, StackctlError, StoreCorrupt
from stackctl.settings import InsightsSettings
from stackctl_daemon.clock import Clock, SystemClock
from stackctl_daemon.events import EventSink
from stackctl_daemon.insights import engine, vitals
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.ports import Figures
from stackctl_daemon.insights.reading import Reader
from stackctl_daemon.insights.store import InsightStore
from stackctl_daemon.job_store import set_aside
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)
T = TypeVar("T")

STATES = ("open", "resolved", "muted", "all")
CHECK_TIMEOUT_S = 120.0


def wall_us() -> int:
    """Give the wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


class InsightService:
    """Owns the panel, the incidents and the file ``data_dir/insights.db``."""

    def __init__(
        self,
        settings: InsightsSettings,
        data_dir: Path,
        figures: Figures,
        sink: EventSink,
        *,
        clock: Clock | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self._interval_s = settings.interval_s
        self._data = data_dir
        self._path = data_dir / "insights.db"
        self._sink = sink
        self._clock = clock or SystemClock()
        self._now_us = now_us
        self._reader = Reader(figures)
        self._panel = Panel()
        self._known: dict[str, Insight] = {}
        self._checked_us = 0
        self._problem = ""
        self._dead = ""
        """Why nobody checks each minute any more."""
        self._checking = asyncio.Lock()
        self._store: InsightStore | None = None
        self._tasks: TaskOwner | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Open the store and check from now on; ``interval_s`` 0 leaves checks to who asks.

        Raises:
            StoreCorrupt: the database is unsound; the area is degraded until `repair`.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="insights")
        self._store = await self._call(lambda: InsightStore(self._path))
        known, self._checked_us = await self._call(self._opened().load)
        self._known = {insight.id: insight for insight in known}
        self._tasks = TaskOwner(self._ended)
        if self._interval_s:
            self._tasks.spawn(self._run(), name="insights")

    async def close(self) -> None:
        """Stop checking and close the store; closing twice is harmless."""
        if self._tasks is not None:
            await self._tasks.close()
        if self._store is not None:
            await self._call(self._store.close)
            self._store = None
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def repair(self) -> list[str]:
        """Set a damaged database aside: incidents that still go on are found again."""
        try:
            store = await asyncio.to_thread(InsightStore, self._path)
        except StoreCorrupt:
            return await asyncio.to_thread(set_aside, self._path)
        await asyncio.to_thread(store.close)
        return []

    def health(self) -> AreaHealth:
        """Say whether it can look."""
        if problem := self._dead or self._problem:
            return AreaHealth(
                name="insights", state="degraded", reason=problem, hint="stackctl logs"
            )
        return AreaHealth(name="insights", state="ready")

    def list(self, state: str = "open") -> InsightList:
        """Give the insights of a state, the greatest score first.

        Raises:
            Invalid: there is no such state.
        """
        if state not in STATES:
            raise Invalid(
                f'state is "{state}", expected one of: {", ".join(STATES)}',
                hint="stackctl insights list",
            )
        found = engine.ranked(self._known.values(), state)
        return InsightList(
            items=found, checked_us=self._checked_us, problem=self._dead or self._problem
        )

    def get(self, prefix: str) -> Insight:
        """Give the insight whose id is, or alone begins with, ``prefix``.

        Raises:
            NotFound: there is none.
            Invalid: several begin with it.
        """
        if prefix in self._known:
            return self._known[prefix]
        found = [i for key, i in self._known.items() if prefix and key.startswith(prefix)]
        if not found:
            raise NotFound(
                f'insight "{prefix}" not found', hint="stackctl insights list --state all"
            )
        if len(found) > 1:
            raise Invalid(
                f'"{prefix}" begins {len(found)} insight ids: give more of it',
                hint="stackctl insights list --state all",
            )
        return found[0]

    async def mute(self, prefix: str, wanted: Mute) -> Insight:
        """Say no more of an insight for a while, nor of its like; durable when it returns."""
        async with self._checking:
            now = self._now_us()
            muted = engine.mute(self.get(prefix), wanted.reason, wanted.for_s, now)
            await self._keep({muted.id: muted})
            return muted

    async def unmute(self, prefix: str) -> Insight:
        """Speak of an insight again; durable when it returns."""
        async with self._checking:
            spoken = engine.unmute(self.get(prefix))
            await self._keep({spoken.id: spoken})
            return spoken

    async def check(self) -> InsightList:
        """Look now; a store that cannot answer is told as ``problem``."""
        async with self._checking:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    failed = await self._look()
                if failed is not None:
                    self._problem = "; ".join(failed)
            except TimeoutError:
                self._problem = f"the event store did not answer in {CHECK_TIMEOUT_S:.0f} s"
                log.warning("insights_not_checked error=%s", self._problem)
            except StackctlError as err:
                self._problem = err.message
                log.warning("insights_not_checked error=%s", err.message)
        return self.list("open")

    def _ended(self, task: str, error: BaseException) -> None:
        self._dead = f"{task} ended by our bug: {error!r}"

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                for event in await asyncio.to_thread(vitals.measure, self._data):
                    self._sink.emit(event)
                await self.check()
            except Exception as err:  # a look that fails is no reason not to look again
                log.exception("insights_not_checked")
                self._problem = f"checking failed by our bug: {err!r}"

    async def _look(self) -> Sequence[str] | None:
        """Look at what is new; give what failed, None when there is nothing new to look at."""
        now = self._now_us()
        if not await self._reader.read(self._panel, now):
            return None
        began_s = self._clock.monotonic_s()
        failed: list[str] = []
        findings = await self._call(lambda: engine.find(self._panel, failed))
        known = list(self._known.values())
        changed = engine.advance(known, findings, now)
        self._checked_us = now
        await self._keep(changed)
        for insight in changed.values():
            if insight.id not in {old.id for old in known}:
                log.info("insight_found id=%s title=%s", insight.id, insight.title)
        log.debug(
            "insights_checked findings=%d elapsed_s=%.3f",
            len(findings),
            self._clock.monotonic_s() - began_s,
        )
        return failed

    async def _keep(self, changed: dict[str, Insight]) -> None:
        """Write what changed, then show it."""
        if changed:
            saved = list(changed.values())
            gone = await self._call(lambda: self._opened().save(saved, self._checked_us))
            self._known |= changed
            for key in gone:
                self._known.pop(key, None)

    def _opened(self) -> InsightStore:
        if self._store is None:
            raise StoreCorrupt("the insights are not open", hint="stackctl doctor --repair")
        return self._store

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
