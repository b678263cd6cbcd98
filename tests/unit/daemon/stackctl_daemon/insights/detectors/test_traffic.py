"""Traffic against the hour of the week."""

from __future__ import annotations

from steady_panel import END, SteadyPanel

from stackctl_daemon.insights.detectors.traffic import detect
from stackctl_daemon.insights.grid import MINUTES
from stackctl_daemon.insights.panel import Panel


def test_steady_traffic_is_no_news() -> None:
    assert detect(SteadyPanel().panel) == []


def test_a_drop_of_everything_names_no_dimension() -> None:
    steady = SteadyPanel()
    steady.each("answers", 15, count=0.0)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("traffic-drop", {})
    assert found.after == 0
    assert found.before * 60 > 20
    assert steady.panel.end - found.began == 15
    assert found.severity == "critical"


def test_a_drop_of_one_model_names_it() -> None:
    steady = SteadyPanel()
    steady.each("answers", 20, where="rerank", count=0.0)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("traffic-drop", {"model": "rerank"})


def test_a_surge_of_all_users_is_told() -> None:
    steady = SteadyPanel()
    steady.each("answers", 20, count=9.0)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("traffic-surge", {})
    assert "rose" in found.title


def test_a_surge_of_one_user_is_left_to_the_users_detector() -> None:
    steady = SteadyPanel()
    steady.each("answers", 20, where="1001", count=30.0)

    assert detect(steady.panel) == []


def test_half_the_traffic_more_is_within_bounds() -> None:
    steady = SteadyPanel()
    steady.each("answers", 30, count=3.0)

    assert detect(steady.panel) == []


def test_the_first_traffic_of_a_new_daemon_is_no_surge() -> None:
    panel = Panel()
    panel.begin(END)
    for at in range(30):
        panel.sources.put(("request", "embed", "", "ok"), END - 1 - at, {"count": 15})
        panel.answers.put(("embed", "minilm", "cpu:0", "1000"), END - 1 - at, {"count": 15})

    assert detect(panel) == []


def test_traffic_that_was_never_there_began_when_it_came() -> None:
    panel = Panel()
    panel.begin(END)
    for at in range(MINUTES):
        panel.sources.put(("metric", "temperature", "", "ok"), END - 1 - at, {"count": 1})
    for at in range(14):
        panel.answers.put(("embed", "minilm", "cpu:0", "1000"), END - 1 - at, {"count": 15})

    [found] = detect(panel)

    assert END - found.began == 14
