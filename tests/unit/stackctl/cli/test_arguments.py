from __future__ import annotations

from stackctl.cli.arguments import hoist


def test_global_flags_move_to_the_front() -> None:
    assert hoist(["status", "--json", "-x"]) == ["--json", "status", "-x"]


def test_words_after_two_dashes_stay() -> None:
    assert hoist(["search", "--", "--json"]) == ["search", "--", "--json"]


def test_verbose_may_follow_the_command() -> None:
    assert hoist(["status", "-v"]) == ["-v", "status"]
