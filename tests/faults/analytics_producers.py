"""A process with the analytics service under several producers and a reader, until it is killed.

Each producer first sends again what an earlier process had sent and was not answered.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from faults.analytics_child import patiently, record
from faults.analytics_ledger import Ledger

from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService

PRODUCERS = 4
SIZES = (1, 7, 20, 50)
SETTINGS = AnalyticsSettings(load_interval_s=0.02)


async def produce(service: AnalyticsService, ledger: Ledger, batches: Iterator[str]) -> None:
    """Send one batch after the other."""
    for batch in batches:
        await record(service, ledger, batch)


async def ask(service: AnalyticsService) -> None:
    """Read all the time: each summary loads what is durable."""
    while True:
        await patiently(lambda: service.summary(3600))


async def work(directory: Path, ledger: Ledger) -> None:
    """Run until killed."""

    def batches() -> Iterator[str]:
        yield from ledger.unanswered()
        for n in itertools.count():
            batch = f"{os.getpid()}-{n}"
            ledger.send(batch, SIZES[n % len(SIZES)])
            yield batch

    service = AnalyticsService(SETTINGS, directory)
    await service.start()
    shared = batches()
    async with asyncio.TaskGroup() as group:
        for _ in range(PRODUCERS):
            group.create_task(produce(service, ledger, shared))
        group.create_task(ask(service))


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Ledger(Path(sys.argv[2]))))
