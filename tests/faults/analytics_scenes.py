"""Directories of the event store in the states that a daemon may find at its start.

Made once by a real service and copied for each strike.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from faults.analytics_ledger import Ledger, events

from stackctl.contracts.event import Event
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.service import AnalyticsService

DAY_S = 86_400
SEEDS = 3
EVENTS = 20
EXPIRED = 10
"""Few beside the others: a clock by which many are too old is doubted."""


def fresh(scene: Path) -> None:
    """Nothing yet."""
    (scene / "data").mkdir(parents=True)


def aged(scene: Path) -> None:
    """Loaded segments that are too old, events that are too old, and a torn tail."""
    fresh(scene)
    past_us = (time.time_ns() // 1000) - 100 * DAY_S * 1_000_000
    old = [
        Event(id=f"expired-{n}", kind="user", name="expired", time_us=past_us + n)
        for n in range(EXPIRED)
    ]
    asyncio.run(_record(scene, "old", old))
    for segment in (scene / "data").rglob("events-*.log"):
        stamp = time.time() - 2 * DAY_S
        os.utime(segment, (stamp, stamp))
    asyncio.run(_record(scene, "young"))
    frame = encode_frame(events("never-told", EVENTS))
    last = max((scene / "data").rglob("events-*.log"))
    with last.open("ab") as file:
        file.write(frame[: len(frame) // 2])


def damaged(scene: Path, *, header: bool = True) -> None:
    """A store with a write-ahead log, as a kill leaves it; ``header``: and its file's is gone."""
    fresh(scene)
    asyncio.run(_record(scene, "seed", crash=True))
    if header:
        with (scene / "data" / "analytics" / "analytics.duckdb").open("r+b") as file:
            file.write(os.urandom(12_288))


SCENES = {"fresh": fresh, "aged": aged, "damaged": damaged}


async def _record(
    scene: Path, prefix: str, extra: Sequence[Event] = (), *, crash: bool = False
) -> None:
    """Store some acknowledged batches; ``crash``: leave the files as they are before a close."""
    service = AnalyticsService(AnalyticsSettings(retention_days=0), scene / "data")
    ledger = Ledger(scene / "ledger")
    await service.start()
    await service.record(extra)
    for n in range(SEEDS):
        batch = f"{prefix}-{n}"
        ledger.send(batch, EVENTS)
        await service.record(events(batch, EVENTS))
        ledger.acknowledge(batch)
        await service.summary(3600)
    if crash:
        image = scene / "image"
        shutil.copytree(scene / "data", image)
    await service.close()
    ledger.close()
    if crash:
        shutil.rmtree(scene / "data")
        image.rename(scene / "data")
