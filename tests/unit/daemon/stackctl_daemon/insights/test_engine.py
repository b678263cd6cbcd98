"""The life of incidents: one id, an end, silence when muted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from steady_panel import END, SteadyPanel

from stackctl.contracts.insight import Insight
from stackctl_daemon.insights import engine
from stackctl_daemon.insights.detectors import ALL
from stackctl_daemon.insights.detectors.traffic import detect
from stackctl_daemon.insights.finding import MINUTE_US, Finding
from stackctl_daemon.insights.panel import Panel

NOW = END * MINUTE_US


@pytest.fixture
def drop() -> Finding:
    steady = SteadyPanel()
    steady.each("answers", 20, where="rerank", count=0.0)
    [found] = detect(steady.panel)
    return found


def _first(finding: Finding, now_us: int = NOW) -> Insight:
    [insight] = engine.advance([], [finding], now_us).values()
    return insight


def test_the_same_events_give_the_same_id(drop: Finding) -> None:
    assert _first(drop).id == _first(drop).id
    assert _first(drop).id != _first(replace(drop, began=drop.began - 1)).id
    assert _first(drop).id.startswith("traffic-drop-")


def test_an_incident_that_goes_on_keeps_its_id_and_its_beginning(drop: Finding) -> None:
    first = _first(drop)

    later = replace(drop, began=drop.began + 2, title="later")
    [again] = engine.advance([first], [later], NOW + 5 * MINUTE_US).values()

    assert (again.id, again.began_us) == (first.id, first.began_us)
    assert again.seen_us == NOW + 5 * MINUTE_US
    assert again.title == "later"


def test_a_change_told_by_another_dimension_is_the_same_incident(drop: Finding) -> None:
    first = _first(drop)

    retold = replace(drop, subject={"name": "embed"}, confidence=0.5)
    [again] = engine.advance([first], [retold], NOW + MINUTE_US).values()

    assert again.id == first.id
    assert again.subject == {"model": "rerank"}  # it was surer of that


def test_another_subject_is_another_incident(drop: Finding) -> None:
    first = _first(drop)

    other = replace(drop, subject={"model": "minilm"})
    changed = engine.advance([first], [drop, other], NOW + MINUTE_US)

    assert len(changed) == 2


def test_an_incident_ends_when_it_has_not_been_seen_for_a_while(drop: Finding) -> None:
    first = _first(drop)

    soon = engine.advance([first], [], NOW + engine.CALM_US - 1)
    over = engine.advance([first], [], NOW + engine.CALM_US)

    assert soon == {}
    assert over[first.id].state == "resolved"
    assert over[first.id].resolved_us == NOW + engine.CALM_US


def test_what_comes_back_soon_is_the_same_incident_again(drop: Finding) -> None:
    first = _first(drop)
    [over] = engine.advance([first], [], NOW + engine.CALM_US).values()

    [back] = engine.advance([over], [drop], over.resolved_us + engine.AGAIN_US).values()
    late = engine.advance(
        [over], [replace(drop, began=END)], over.resolved_us + engine.AGAIN_US + 1
    )

    assert (back.id, back.state, back.resolved_us) == (first.id, "open", 0)
    assert first.id not in late


def test_a_muted_incident_stays_muted_until_its_time(drop: Finding) -> None:
    muted = engine.mute(_first(drop), "planned", 600, NOW)

    [during] = engine.advance([muted], [drop], NOW + 9 * MINUTE_US).values()
    [after] = engine.advance([during], [drop], NOW + 10 * MINUTE_US).values()

    assert (during.state, during.muted_reason) == ("muted", "planned")
    assert (after.state, after.muted_reason) == ("open", "")


def test_a_muted_incident_that_is_over_is_resolved_and_keeps_its_like_quiet(drop: Finding) -> None:
    muted = engine.mute(_first(drop), "planned", 86_400, NOW)
    [over] = engine.advance([muted], [], NOW + engine.CALM_US).values()

    next_day = replace(drop, began=drop.began + 300)
    [new] = engine.advance([over], [next_day], NOW + 300 * MINUTE_US).values()

    assert over.state == "resolved"
    assert new.id != over.id
    assert (new.state, new.muted_reason) == ("muted", "planned")


def test_unmuting_speaks_again(drop: Finding) -> None:
    muted = engine.mute(_first(drop), "planned", 86_400, NOW)

    assert engine.unmute(muted).state == "open"
    assert engine.unmute(muted).muted_until_us == 0


def test_the_worst_comes_first(drop: Finding) -> None:
    small = replace(drop, severity="info", subject={"model": "a"})
    large = replace(drop, severity="critical", subject={"model": "b"})
    insights = engine.advance([], [small, large], NOW).values()

    ranked = engine.ranked(insights, "open")

    assert [i.severity for i in ranked] == ["critical", "info"]
    assert engine.ranked(insights, "muted") == []


def test_what_saturation_explains_is_left_out() -> None:
    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "overloaded", "1000"), 12, 5)
    steady.each("answers", 15, where="rerank", log_s=1.0)

    assert {f.kind for f in engine.find(steady.panel)} == {"saturation"}


def test_a_steady_stack_has_no_findings() -> None:
    assert engine.find(SteadyPanel().panel) == []


def test_a_detector_that_fails_is_told_and_the_others_go_on() -> None:
    def broken(panel: Panel) -> list[Finding]:
        raise ValueError("its own bug")

    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "overloaded", "1000"), 12, 5)
    failed: list[str] = []

    found = engine.find(steady.panel, failed, detectors=[broken, *ALL])

    assert {finding.kind for finding in found} == {"saturation"}
    assert [("broken" in text, "its own bug" in text) for text in failed] == [(True, True)]
