"""A process that runs the analytics service on a directory and takes events, to be struck down.

It does what a daemon does in a day in a second: recover, append, load, join rollups, drop old
segments, forget old events, and repair a store that is damaged. It ends with 0 when everything
it was told is stored shows in the summary, with 5 when the service did not start and said why.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from faults.analytics_ledger import NAME, Ledger, events

from stackctl.contracts.analytics import SqlRequest
from stackctl.errors import StackctlError
from stackctl.settings import AnalyticsSettings
from stackctl_daemon import failpoints
from stackctl_daemon.analytics import retention, store
from stackctl_daemon.analytics.service import AnalyticsService

BATCHES = 8
EVENTS = 20
PATIENCE_S = 10.0
REFUSED_TO_START = 5
NOT_HEALED = 3
SETTINGS = AnalyticsSettings(load_interval_s=0.02, retention_days=90)
T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, as a producer does; only errors of ours are borne."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except StackctlError as err:
            sys.stderr.write(f"refused code={err.code} {err}\n")
            if time.monotonic() > deadline:
                raise SystemExit(NOT_HEALED) from err
            # As a producer backs off; nobody gives notice when a disk is well again.
            await asyncio.sleep(0.01)


async def record(service: AnalyticsService, ledger: Ledger, batch: str) -> None:
    """Send a batch until it is acknowledged."""
    await patiently(lambda: service.record(events(batch, ledger.sent[batch])))
    ledger.acknowledge(batch)


async def shows(service: AnalyticsService, count: int) -> None:
    """Wait until the summary has so many events of ours."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        summary = await patiently(lambda: service.summary(3600))
        stored = sum(row.count for row in summary.rows if row.name == NAME)
        if stored == count and summary.events_pending == 0:
            return
        if time.monotonic() > deadline:
            sys.stderr.write(f"the summary has {stored} events, expected {count}\n")
            raise SystemExit(NOT_HEALED)


async def kept_up(service: AnalyticsService) -> None:
    """Wait until the loader has forgotten what is too old and joined the rows of rollups."""
    ask = SqlRequest(
        sql="SELECT (SELECT count(*) FROM events WHERE name = 'expired'),"
        " (SELECT count(*) FROM hours)"
    )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        expired, rows = (await patiently(lambda: service.sql(ask))).rows[0]
        if expired == 0 and rows < BATCHES:
            return
        if time.monotonic() > deadline:
            sys.stderr.write(f"{expired} events too old, {rows} rows of hours\n")
            raise SystemExit(NOT_HEALED)


async def work(directory: Path, ledger: Ledger) -> int:
    """Go once through everything."""
    service = AnalyticsService(SETTINGS, directory)
    try:
        await service.start()
    except StackctlError as err:
        sys.stderr.write(f"refused to start code={err.code} {err}\n")
        return REFUSED_TO_START
    for batch in ledger.unanswered():
        await record(service, ledger, batch)
    await patiently(service.repair)
    for n in range(BATCHES):
        batch = f"{os.getpid()}-{n}"
        ledger.send(batch, EVENTS)
        await record(service, ledger, batch)
        await patiently(lambda: service.summary(3600))  # which loads
    await kept_up(service)
    await shows(service, len(ledger.acknowledged_ids()))
    await service.close()
    return 0


def main() -> int:
    """Run the work under the failpoints of the environment."""
    directory, ledger = Path(sys.argv[1]), Ledger(Path(sys.argv[2]))
    # A day's loads, and an hour's patience, in a second.
    store._COMPACT_LOADS, retention.RETRY_S = 3, 0.1
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    return asyncio.run(work(directory, ledger))


if __name__ == "__main__":
    sys.exit(main())
