from __future__ import annotations

from typing import Any

import pytest

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.option import (
    check_known,
    read_bool,
    read_float,
    read_int,
    read_query,
    shown,
)


def test_an_option_that_is_not_there_or_null_is_the_default() -> None:
    assert read_int({}, "a", 3, low=1, high=4) == 3
    assert read_float({"a": None}, "a", 0.5, low=0, high=1) == 0.5
    assert read_bool({"a": None}, "a", default=True) is True


def test_options_are_given_as_they_are() -> None:
    options = {"a": 4, "b": 1, "c": False, "query": "how?"}

    assert read_int(options, "a", 3, low=1, high=4) == 4
    assert read_float(options, "b", 0.5, low=0, high=1) == 1.0
    assert read_bool(options, "c", default=True) is False
    assert read_query("m", options) == "how?"


@pytest.mark.parametrize("value", [0, 5, True, 2.0, "2", [2]])
def test_what_is_no_whole_number_in_its_range_is_named(value: Any) -> None:
    with pytest.raises(Invalid, match=r'"a" is .*expected a whole number, 1 to 4'):
        read_int({"a": value}, "a", 3, low=1, high=4)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "1"])
def test_what_is_no_number_in_its_range_is_named(value: Any) -> None:
    with pytest.raises(Invalid, match="expected a number, 0 to 1"):
        read_float({"a": value}, "a", 0.5, low=0, high=1)


def test_what_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(Invalid, match='"no", expected true or false'):
        read_bool({"a": "no"}, "a", default=True)


def test_a_misspelt_option_is_named_with_those_there_are() -> None:
    with pytest.raises(Invalid, match='"m" has no option "dimension", expected dimensions'):
        check_known("m", {"dimension": 2}, ["dimensions"])


@pytest.mark.parametrize("options", [{}, {"query": "  "}, {"query": 3}])
def test_ranking_without_a_query_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r'ranks documents for a query, option "query" is'):
        read_query("m", options)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ({"1": 1.0}, '{"1": 1.0}'),
        (["é", 1], '["é", 1]'),
        ("x" * 200, '"' + "x" * 79 + "…"),
    ],
)
def test_a_value_is_shown_as_its_request_wrote_it(value: object, text: str) -> None:
    assert shown(value) == text
