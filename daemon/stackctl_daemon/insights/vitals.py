"""The metrics of the daemon's own that forecasts need; refuses to judge them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stackctl.contracts.event import Event
from stackctl_daemon.events import new_event


def measure(data_dir: Path) -> list[Event]:
    """Give the free bytes of the data's disk and the daemon's resident memory as metrics."""
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return [
        _metric("disk.free_bytes", shutil.disk_usage(data_dir).free),
        _metric("process.memory_bytes", resident * os.sysconf("SC_PAGE_SIZE")),
    ]


def _metric(name: str, value: int) -> Event:
    return new_event("metric", name, attributes={"value": value})
