"""Memory that grows."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.memory import detect

NAME = "process.memory_bytes"


def test_steady_growth_beyond_all_before_is_told() -> None:
    steady = SteadyPanel()
    steady.metric(NAME, [200e6] * 100 + [200e6 * (1 + 0.03 * n) for n in range(30)])

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("memory-growth", {"name": NAME})
    assert found.after > 1.5 * found.before


def test_memory_that_swings_is_no_growth() -> None:
    steady = SteadyPanel()
    steady.metric(NAME, [200e6 + 5e6 * (n % 48) for n in range(140)])

    assert detect(steady.panel) == []
