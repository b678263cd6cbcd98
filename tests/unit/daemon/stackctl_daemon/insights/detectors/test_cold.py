"""First answers after a rest."""

from __future__ import annotations

from steady_panel import END, SteadyPanel

from stackctl_daemon.insights.detectors.cold import detect

KEY = ("run", "titles", "cpu:0", "1000")


def _with_titles(first_s: float) -> SteadyPanel:
    steady = SteadyPanel()
    grid = steady.panel.answers
    for hour in range(200):
        grid.put_hour(KEY, grid.end_hour - 1 - hour, {"count": 4, "log_s": -1.6, "max_s": 0.3})
    for start in range(30, 400, 60):
        for late, took in ((0, first_s), (1, 0.2), (2, 0.25)):
            grid.put(KEY, END - start + late, {"count": 1, "log_s": -1.6, "max_s": took})
    return steady


def test_slow_first_answers_name_the_model_and_its_load() -> None:
    [found] = detect(_with_titles(8.0).panel)

    assert (found.kind, found.subject) == ("cold-model", {"model": "titles"})
    assert found.after == 8
    assert found.action == "stackctl models load titles"


def test_first_answers_as_fast_as_others_are_no_news() -> None:
    assert detect(_with_titles(0.3).panel) == []
