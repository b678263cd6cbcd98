"""The short form of ``nox -s faults -- analytics``: each failpoint once, some kills."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.analytics_clock import jump_clock
from faults.analytics_damage import damage_files
from faults.analytics_kills import kill_service, strike_daemon
from faults.analytics_points import strike_points
from faults.analytics_wire import send_bad_events
from faults.findings import Findings, report

PARTS: dict[str, Callable[[Findings], None]] = {
    "failpoints": lambda found: strike_points(found, print, every=False),
    "kills of the service": lambda found: kill_service(5, found, print, seed=20),
    "kills of the daemon": lambda found: strike_daemon(1, found, print, seed=20, strikes=2),
    "damaged files": lambda found: damage_files(5, found, print, seed=20),
    "a clock that jumps": jump_clock,
    "over the wire": lambda found: send_bad_events(found, print),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_was_acknowledged_is_stored_exactly_once_after(part: str) -> None:
    findings = Findings()
    PARTS[part](findings)
    report(part, findings)

    assert findings.losses == []
