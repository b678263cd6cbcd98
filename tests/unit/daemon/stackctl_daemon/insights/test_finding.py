"""What a finding says of itself."""

from __future__ import annotations

from stackctl_daemon.insights.finding import ask
from stackctl_daemon.insights.grid import OTHER


def test_a_question_about_a_user_is_asked_by_number() -> None:
    query = ask("request", {"uid": "1000", "model": "minilm"}, 100, ["count"])

    assert [(f.field, f.value) for f in query.where] == [("uid", 1000), ("model", "minilm")]


def test_what_is_not_told_apart_is_nothing_to_ask_for() -> None:
    query = ask("request", {"uid": OTHER, "model": OTHER, "name": "embed"}, 100, ["count"])

    assert [(f.field, f.value) for f in query.where] == [("name", "embed")]
