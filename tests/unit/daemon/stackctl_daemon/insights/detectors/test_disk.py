"""Disks that fill up."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.disk import METRIC, detect

GB = 1e9


def test_a_steady_fall_is_told_with_when_it_ends() -> None:
    steady = SteadyPanel()
    steady.metric(METRIC, [100 * GB] * 100 + [100 * GB - n * GB for n in range(36)])

    [found] = detect(steady.panel)

    assert found.kind == "disk-forecast"
    assert found.severity == "critical"  # 6 GB an hour of 67
    assert "11.2 h: 67.0 GB free" in found.title


def test_a_disk_that_hardly_changes_is_no_news() -> None:
    steady = SteadyPanel()
    steady.metric(METRIC, [100 * GB - (n % 5) * 1e6 for n in range(136)])

    assert detect(steady.panel) == []


def test_what_fills_and_is_cleared_again_is_no_forecast() -> None:
    steady = SteadyPanel()
    steady.metric(METRIC, [(60 - (n % 48)) * GB for n in range(136)])

    assert detect(steady.panel) == []
