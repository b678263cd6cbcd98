from __future__ import annotations

from typing import Any, get_args

import pytest
import typer

from stackctl.cli import asking
from stackctl.contracts.analytics import Measure


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h", 3600), ("7d", 604_800), ("1.5h", 5400), ("20", 20)],
)
def test_spans_are_seconds(text: str, seconds: float) -> None:
    assert asking.span(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1y", "-1h", "1h 5"])
def test_what_is_no_span_is_said(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected one such as"):
        asking.span(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("outcome=error", ("outcome", "eq", "error")),
        ("outcome != ok", ("outcome", "ne", "ok")),
        ("duration_s>0.5", ("duration_s", "gt", 0.5)),
        ("items>=3", ("items", "ge", 3)),
        ("tokens=7", ("tokens", "eq", 7)),
        ("name^=search.", ("name", "prefix", "search.")),
        ("model in a, b", ("model", "in", ["a", "b"])),
        ("items in 1,2", ("items", "in", [1, 2])),
        ("attributes.http.status=500", ("attributes.http.status", "eq", "500")),
        ("name=a=b", ("name", "eq", "a=b")),
        ("error_code=", ("error_code", "eq", "")),
    ],
)
def test_conditions_are_filters(text: str, wanted: tuple[str, str, Any]) -> None:
    assert asking.condition(text) == dict(zip(("field", "op", "value"), wanted, strict=True))


@pytest.mark.parametrize("text", ["", "name", "=x", "name~x", "duration_s>much", "items=nan"])
def test_what_is_no_condition_is_said(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        asking.condition(text)


def test_measures_are_those_of_the_contract() -> None:
    assert get_args(Measure) == asking.MEASURES


def test_an_unknown_measure_is_said_with_what_there_is() -> None:
    with pytest.raises(typer.BadParameter, match=r'"p42_s".*p95_s'):
        asking.query(measure=["count,p42_s"], by=[], where=[], window="1h")


def test_lists_are_joined_by_commas_or_given_again() -> None:
    found = asking.query(
        measure=["count, errors", "p95_s"], by=["name", "model"], where=[], window="1h", step="5m"
    )

    assert found["measures"] == ["count", "errors", "p95_s"]
    assert found["group_by"] == ["name", "model"]
    assert (found["window_s"], found["step_s"]) == (3600, 300)


def test_the_top_is_by_the_first_measure_with_the_rest() -> None:
    found = asking.top("uid", measure=["tokens", "count"], where=[], window="1d", limit=5)

    assert (found["order_by"], found["others"], found["limit"]) == ("-tokens", True, 5)
