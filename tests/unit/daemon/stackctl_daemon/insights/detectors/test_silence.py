"""Sources that stop."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.silence import detect


def test_sources_that_speak_are_no_news() -> None:
    assert detect(SteadyPanel().panel) == []


def test_a_source_that_always_spoke_and_stops_is_told() -> None:
    steady = SteadyPanel()
    steady.each("sources", 30, where="temperature", count=0.0)

    [found] = detect(steady.panel)

    assert found.kind == "silent-source"
    assert found.subject == {"kind": "metric", "name": "temperature"}
    assert steady.panel.end - found.began == 30


def test_silence_of_everything_is_a_daemon_that_was_off() -> None:
    steady = SteadyPanel()
    steady.each("sources", 30, count=0.0)

    assert detect(steady.panel) == []


def test_a_source_that_speaks_now_and_then_may_pause() -> None:
    steady = SteadyPanel()
    steady.put("sources", ("metric", "rare", "", "ok"), 600, 1, every=25)
    steady.each("sources", 40, where="rare", count=0.0)

    assert detect(steady.panel) == []
