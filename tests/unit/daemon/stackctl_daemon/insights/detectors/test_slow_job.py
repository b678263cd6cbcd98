"""Jobs that take long."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.slow_job import detect


def _with_history() -> SteadyPanel:
    steady = SteadyPanel()
    for number in range(40):
        steady.job("index", 4000 - number * 60, 30.0 + number % 7)
    return steady


def test_a_job_like_others_is_no_news() -> None:
    steady = _with_history()
    steady.job("index", 5, 38.0, "j9")

    assert detect(steady.panel) == []


def test_a_job_of_ten_times_the_usual_names_itself() -> None:
    steady = _with_history()
    steady.job("index", 5, 330.0, "j9")

    [found] = detect(steady.panel)

    assert found.kind == "slow-job"
    assert found.subject == {"name": "index", "job_id": "j9"}
    assert found.action == "stackctl jobs show j9"
    assert 8 < found.after / found.before < 12


def test_without_history_nothing_is_slow() -> None:
    steady = SteadyPanel()
    steady.job("index", 5, 330.0)

    assert detect(steady.panel) == []
