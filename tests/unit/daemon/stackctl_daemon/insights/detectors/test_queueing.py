"""Saturation."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.queueing import detect


def test_nothing_waits_on_a_steady_stack() -> None:
    assert detect(SteadyPanel().panel) == []


def test_refusals_name_the_model_that_is_overloaded() -> None:
    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "overloaded", "1000"), 12, 5)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("saturation", {"model": "rerank"})
    assert "overloaded" in found.title
    assert steady.panel.end - found.began == 12


def test_batches_that_wait_name_the_device() -> None:
    steady = SteadyPanel()
    for model in ("minilm", "rerank"):
        steady.put("queued", (model, "cpu:1"), 15, 5)

    [found] = detect(steady.panel)

    assert found.subject == {"device": "cpu:1"}
    assert "wait" in found.title


def test_a_few_refusals_are_no_saturation() -> None:
    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "overloaded", "1000"), 3, 1)

    assert detect(steady.panel) == []
