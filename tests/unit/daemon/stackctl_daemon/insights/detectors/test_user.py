"""One user's share."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.user import detect


def test_users_as_ever_are_no_news() -> None:
    assert detect(SteadyPanel().panel) == []


def test_a_user_that_takes_most_is_told_with_its_share() -> None:
    steady = SteadyPanel()
    steady.each("answers", 15, where="1001", count=30.0)

    [found] = detect(steady.panel)

    assert (found.kind, found.subject) == ("noisy-user", {"uid": "1001"})
    assert steady.panel.end - found.began == 15
    assert "%" in found.title


def test_an_unknown_user_that_takes_most_is_told() -> None:
    steady = SteadyPanel()
    steady.put("answers", ("embed", "minilm", "cpu:0", "2001"), 20, 60)

    assert [f.subject for f in detect(steady.panel)] == [{"uid": "2001"}]


def test_a_user_that_did_so_every_day_is_no_news() -> None:
    steady = SteadyPanel()
    for hour in range(0, 800, 24):
        steady.panel.answers.put_hour(
            ("embed", "minilm", "cpu:0", "1001"),
            steady.panel.answers.end_hour - 1 - hour,
            {"count": 2000.0},
        )
    steady.each("answers", 15, where="1001", count=30.0)

    assert detect(steady.panel) == []
