"""Latency shifts and change points."""

from __future__ import annotations

import math

import pytest
from steady_panel import P50_S, SteadyPanel

from stackctl_daemon.insights.detectors.latency import detect_change_point, detect_shift


def test_steady_latency_is_no_news() -> None:
    panel = SteadyPanel().panel

    assert detect_shift(panel) == []
    assert detect_change_point(panel) == []


@pytest.mark.parametrize(
    "where, subject",
    [
        ("rerank", {"model": "rerank"}),
        ("cpu:1", {"device": "cpu:1"}),
        ("1002", {"uid": "1002"}),
        ("", {}),
    ],
)
def test_a_shift_names_what_explains_it(where: str, subject: dict[str, str]) -> None:
    steady = SteadyPanel()
    steady.each("answers", 15, where=where, log_s=math.log(3 * P50_S))

    [found] = detect_shift(steady.panel)

    # All requests have one route: it and everything are the same.
    assert found.subject in ([subject] if subject else [{}, {"name": "embed"}])
    assert found.after / found.before == pytest.approx(3, rel=0.1)
    assert abs(steady.panel.end - found.began - 15) <= 1


def test_a_tenth_slower_is_no_shift() -> None:
    steady = SteadyPanel()
    steady.each("answers", 30, log_s=math.log(1.1 * P50_S))

    assert detect_shift(steady.panel) == []


def test_a_small_step_that_lasts_is_a_change_point() -> None:
    steady = SteadyPanel()
    steady.each("answers", 180, where="rerank", log_s=math.log(1.25 * P50_S))

    [found] = detect_change_point(steady.panel)

    assert (found.kind, found.subject) == ("change-point", {"model": "rerank"})
    assert found.after / found.before == pytest.approx(1.25, rel=0.05)
    assert abs(steady.panel.end - found.began - 180) <= 10
