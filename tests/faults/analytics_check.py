"""Whether a directory of the event store holds what was acknowledged, exactly once.

The question is asked of the service, restarted without faults, and then of the files.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from faults.analytics_ledger import NAME, Ledger, events

from stackctl.contracts.event import Summary
from stackctl.contracts.system import AreaHealth
from stackctl.errors import StackctlError, StoreCorrupt
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService

PATIENCE_S = 20.0
ROLLUPS = ("minutes", "minutes_histogram", "hours", "hours_histogram")


@dataclass(slots=True)
class Verdict:
    """What was found."""

    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)
    """What else is not as it must be, in words."""
    health: AreaHealth = field(default_factory=lambda: AreaHealth(name="", state="ready"))

    @property
    def sound(self) -> bool:
        """Nothing lost, nothing doubled, nothing wrong."""
        return not (self.lost or self.doubled or self.wrong)


def verify(
    directory: Path,
    ledger_path: Path,
    *,
    degraded: bool = False,
    repair: bool = False,
    window: bool = True,
) -> Verdict:
    """Restart on a directory, send again what was not answered, and count.

    Args:
        directory: the service's ``data_dir``.
        ledger_path: what was sent and acknowledged.
        degraded: damage must be told by health; otherwise health must be ready.
        repair: as `stackctl doctor --repair` does, also where nothing was noticed yet.
        window: all events happened in the summary's window, a day.
    """
    ledger = Ledger(ledger_path)
    found = Verdict()
    try:
        summary, found.health = asyncio.run(_restarted(directory, ledger, repair))
    except StackctlError as err:
        found.wrong.append(f"after a restart: {err.code}: {err}")
        found.lost = len(ledger.acknowledged_ids())
        return found
    finally:
        ledger.close()
    ids = ledger.acknowledged_ids()
    stored, figures = _files(directory)
    found.acknowledged = len(ids)
    found.lost = sum(1 for key in ids if stored[key] == 0)
    found.doubled = sum(1 for count in stored.values() if count > 1)
    counted = sum(row.count for row in summary.rows if row.name == NAME)
    if window and counted != len(ids):
        found.wrong.append(f"the summary has {counted} events, {len(ids)} were acknowledged")
    if summary.events_stored != stored.total() or summary.events_pending:
        found.wrong.append(
            f"the summary says {summary.events_stored} stored and {summary.events_pending} "
            f"pending, the file has {stored.total()}"
        )
    for table, count in figures.items():
        if count != stored.total():
            found.wrong.append(f"{table} counts {count} of {stored.total()} events")
    if (found.health.state == "degraded") != degraded:
        found.wrong.append(f"health is {found.health.state}: {found.health.reason}")
    return found


async def _restarted(directory: Path, ledger: Ledger, repair: bool) -> tuple[Summary, AreaHealth]:
    service = AnalyticsService(
        AnalyticsSettings(load_interval_s=0.02, retention_days=0), directory
    )
    await service.start()
    try:
        for batch in ledger.unanswered():
            # Twice: a producer cannot know whether the first one arrived.
            await service.record(events(batch, ledger.sent[batch]))
            await service.record(events(batch, ledger.sent[batch]))
            ledger.acknowledge(batch)
        if repair:
            await service.repair()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                summary = await service.summary(86_400)
            except StoreCorrupt:
                await service.repair()
                continue
            if not summary.events_pending or time.monotonic() > deadline:
                return summary, service.health()
    finally:
        await service.close()


def _files(directory: Path) -> tuple[Counter[str], dict[str, int]]:
    file = directory / "analytics" / "analytics.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute("SELECT id FROM events").fetchall()
        figures = {
            table: int(
                connection.execute(f"SELECT coalesce(sum(count), 0) FROM {table}").fetchall()[0][0]
            )
            for table in ROLLUPS
        }
    return Counter(row[0] for row in rows), figures
