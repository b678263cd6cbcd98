"""A process whose clock jumps under the event store; it refuses to take part in anything else.

Run as a script it does the jumps, in a process of its own: the clock it changes is that of the
whole interpreter, as the machine's is of every process.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

if __name__ != "__main__":
    from faults.analytics_check import verify
    from faults.analytics_scenes import fresh
    from faults.findings import Findings

DAY_S = 86_400
JUMPS_S = (30 * DAY_S, -30 * DAY_S, 3600, -3600, 400 * DAY_S, -60 * DAY_S, 0)
STARTS_S = (0, 400 * DAY_S, -60 * DAY_S)
"""By how much the clock is wrong when the process starts; with the default retention, 90 days."""
EVENTS = 20
_offset_s = 0
_real_ns = time.time_ns


def jump_clock(findings: Findings) -> None:
    """Let the clock jump ahead and back between batches, and count with the right one."""
    with tempfile.TemporaryDirectory(prefix="fj", dir="/tmp") as folder:
        scene = Path(folder) / "scene"
        fresh(scene)
        done = subprocess.run(
            [sys.executable, __file__, str(scene / "data"), str(scene / "ledger")],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # An event is in the window of the time it says, so not all are in the summary's.
        verdict = verify(scene / "data", scene / "ledger", window=False)
    findings.tell("jumps of the clock, an hour to 400 days", len(STARTS_S) * len(JUMPS_S))
    findings.expect("the process ended with", done.returncode, 0)
    findings.tell("events acknowledged", verdict.acknowledged)
    findings.expect("acknowledged events lost", verdict.lost, 0)
    findings.expect("events doubled", verdict.doubled, 0)
    findings.expect("other faults", "; ".join(verdict.wrong) or 0, 0)
    if done.returncode:
        findings.losses.append(done.stderr[-1000:])


def _time_ns() -> int:
    return _real_ns() + _offset_s * 1_000_000_000


def _time() -> float:
    return _time_ns() / 1e9


async def _jump(directory: Path, ledger_path: Path) -> None:
    # Deferred: names bound to the clock must be bound to this one.
    from faults.analytics_child import patiently, record, shows
    from faults.analytics_ledger import Ledger

    from stackctl.settings import AnalyticsSettings
    from stackctl_daemon.analytics.service import AnalyticsService

    global _offset_s  # noqa: PLW0603 - the clock is one
    ledger = Ledger(ledger_path)
    for start, start_s in enumerate(STARTS_S):  # each recovers what the one before it wrote
        _offset_s = start_s
        service = AnalyticsService(AnalyticsSettings(load_interval_s=0.02), directory)
        await service.start()
        # Until the loader has looked for what is too old, by the clock as it is now.
        for _ in range(20):
            await patiently(partial(service.summary, 3600))
            await asyncio.sleep(0.005)
        for n, offset_s in enumerate(JUMPS_S):
            _offset_s = offset_s
            batch = f"jump-{start}-{n}"
            ledger.send(batch, EVENTS)
            await record(service, ledger, batch)
            await patiently(partial(service.summary, 3600))
        # Of each start the batch of the last jump alone is in the hour's window by now.
        await shows(service, (start + 1) * EVENTS)
        await service.close()


if __name__ == "__main__":
    time.time_ns, time.time = _time_ns, _time
    asyncio.run(_jump(Path(sys.argv[1]), Path(sys.argv[2])))
