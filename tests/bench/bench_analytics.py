"""Events acknowledged durable per second, as a ratio to SQLite (WAL, synchronous=FULL).

Batches of 500; both write to the same disk in the same run, taking turns. The service's loader
runs meanwhile, as it does in the daemon; a third figure waits until DuckDB has every event.
Run it: ``python tests/bench/bench_analytics.py [rounds]``.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from stackctl.contracts.event import Event
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.frame import COLUMNS
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.events import new_event
from stackctl_daemon.sqlite import Database

T = TypeVar("T")

BATCH = 500
PRODUCERS = 8
BATCHES = 600
"""In a round: 300,000 events."""


def batches() -> list[list[Event]]:
    """Make a round's events, with ids of their own."""
    return [
        [
            new_event(
                "request",
                f"route.{n % 24}",
                duration_s=n / 1000,
                items=1,
                tokens=64,
                model="all-minilm-l6-v2",
                device="cpu:0",
                request_id=f"{b:08x}{n:08x}",
                uid=1000,
            )
            for n in range(BATCH)
        ]
        for b in range(BATCHES)
    ]


def through_service(directory: Path, work: list[list[Event]]) -> tuple[float, float]:
    """Give events per second acknowledged, and loaded, for eight producers that await each."""

    async def produce(service: AnalyticsService, waiting: list[list[Event]]) -> None:
        while waiting:
            await service.record(waiting.pop())

    async def main() -> tuple[float, float]:
        service = AnalyticsService(AnalyticsSettings(), directory)
        await service.start()
        await service.summary(60)  # the store is open: its start is not part of the figure
        waiting = list(work)
        started = time.perf_counter()
        await asyncio.gather(*(produce(service, waiting) for _ in range(PRODUCERS)))
        elapsed_s = time.perf_counter() - started
        summary = await service.summary(3600)
        while summary.events_pending:
            summary = await service.summary(3600)
        loaded_s = time.perf_counter() - started
        if summary.events_stored != BATCH * BATCHES:
            raise SystemExit(f"{summary.events_stored} of {BATCH * BATCHES} events stored")
        await service.close()
        return BATCH * BATCHES / elapsed_s, BATCH * BATCHES / loaded_s

    return asyncio.run(main())


def through_sqlite(directory: Path, work: list[list[Event]]) -> float:
    """Give committed events per second of one thread, a transaction for each batch."""
    database = Database(directory / "events.sqlite")
    database.rows(f"CREATE TABLE events ({', '.join(COLUMNS)})")
    insert = f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})"
    started = time.perf_counter()
    for events in work:
        rows = [(*msgspec.structs.astuple(e)[:-1], "{}") for e in events]
        with database.transaction():
            database.many(insert, rows)
    elapsed_s = time.perf_counter() - started
    database.close()
    return BATCH * BATCHES / elapsed_s


def measure(run: Callable[[Path, list[list[Event]]], T]) -> T:
    """Run one round in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        return run(Path(directory), batches())


def main() -> None:
    """Print the ratio of each round, the median and the spread."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    measure(through_service)  # imports and caches
    ours, loaded, theirs = [], [], []
    for _ in range(rounds):
        theirs.append(measure(through_sqlite))
        acknowledged, stored = measure(through_service)
        ours.append(acknowledged)
        loaded.append(stored)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    for name, values in (
        ("acknowledged", ours),
        ("in DuckDB", loaded),
        ("sqlite WAL FULL", theirs),
    ):
        print(
            f"{name:16} {statistics.median(values):9,.0f} events/s"
            f"  ({min(values):,.0f} to {max(values):,.0f})"
        )
    print(
        f"{'ratio':16} {statistics.median(ratios):9.2f}"
        f"  ({min(ratios):.2f} to {max(ratios):.2f}), {rounds} rounds, batches of {BATCH}"
    )


if __name__ == "__main__":
    main()
