"""Devices that fall silent."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.device import detect


def test_devices_that_run_are_no_news() -> None:
    assert detect(SteadyPanel().panel) == []


def test_a_device_that_runs_nothing_while_the_other_does_is_lost() -> None:
    steady = SteadyPanel()
    steady.each("inference", 12, where="cpu:1", count=0.0)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("device-lost", {"device": "cpu:1"})
    assert steady.panel.end - found.began == 12


def test_silence_of_all_devices_is_no_lost_device() -> None:
    steady = SteadyPanel()
    steady.each("inference", 12, count=0.0)

    assert detect(steady.panel) == []
