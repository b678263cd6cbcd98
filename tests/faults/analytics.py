"""The event store under faults: what was acknowledged is stored exactly once, whatever happens.

Failpoints, kills, damaged files, a clock that jumps, events that nobody should send, a full disk.
"""

from __future__ import annotations

from collections.abc import Callable

from faults.analytics_clock import jump_clock
from faults.analytics_damage import damage_files
from faults.analytics_kills import kill_service, strike_daemon
from faults.analytics_points import strike_points
from faults.analytics_wire import send_bad_events
from faults.findings import Findings, report
from faults.full_disk import fill_a_disk

KILLS = 100
DAEMON_KILLS = 10
TRIALS = 60


def analytics_run(
    kills: int, *, seed: int, disk: bool, say: Callable[[str], None]
) -> list[Findings]:
    """Run every part in its long form, print its table, and give the findings."""
    parts: dict[str, Callable[[Findings], None]] = {
        "failpoints": lambda found: strike_points(found, say, every=True),
        "kills of the service": lambda found: kill_service(kills, found, say, seed=seed),
        "kills of the daemon": lambda found: strike_daemon(DAEMON_KILLS, found, say, seed=seed),
        "damaged files": lambda found: damage_files(TRIALS, found, say, seed=seed),
        "a clock that jumps": jump_clock,
        "over the wire": lambda found: send_bad_events(found, say),
    }
    if disk:
        parts["full disk"] = lambda found: fill_a_disk(found, say)
    done = []
    for title, part in parts.items():
        findings = Findings()
        part(findings)
        report(title, findings)
        done.append(findings)
    return done
