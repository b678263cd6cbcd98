"""Options of a question to the analytics as the fields of a query; refuses to check dimensions.

The daemon does: it says what is allowed, and is never behind.
"""

from __future__ import annotations

import math
import re
from typing import Any

import typer

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, None: 1}
_CONDITION = re.compile(r"\s*([\w.:/-]+)\s*(!=|>=|<=|\^=|=|>|<|\bin\b)\s*(.*?)\s*", re.S)
_OPERATORS = {
    "=": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le",
    "^=": "prefix", "in": "in",
}  # fmt: skip
_NUMBERS = ("duration_s", "items", "tokens")
MEASURES = (
    "count", "errors", "error_rate", "rate_per_s", "items", "tokens", "mean_s", "p50_s", "p90_s",
    "p95_s", "p99_s", "max_s", "users",
)  # fmt: skip
"""Of the contract, which takes msgspec to import; a test compares them."""
DEFAULT = ["count", "errors", "p50_s", "p95_s", "p99_s"]


def span(text: str) -> float:
    """Give the seconds of a span such as ``90s``, ``5m``, ``1h``, ``7d``; without a unit as it is.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter(f'"{text}" is no span, expected one such as 90s, 5m, 1h or 7d.')
    return float(found[1]) * _SECONDS[found[2]]


def condition(text: str) -> dict[str, Any]:
    """Give the filter that ``field=value``, ``duration_s>0.5``, ``name^=search.`` or
    ``model in a,b`` means.

    Raises:
        typer.BadParameter: it is none, or a number is expected and missing.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise typer.BadParameter(
            f'"{text}" is no condition, expected one such as outcome=error or "duration_s>0.5".'
        )
    field, sign, value = found.groups()
    op = _OPERATORS[sign]
    number = field in _NUMBERS or op in ("gt", "ge", "lt", "le")
    values = [entry.strip() for entry in value.split(",")] if op == "in" else [value]
    typed = [_number(text, entry) if number else entry for entry in values]
    return {"field": field, "op": op, "value": typed if op == "in" else typed[0]}


def query(
    *,
    measure: list[str],
    by: list[str],
    where: list[str],
    window: str,
    step: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """Give the fields of `stackctl.contracts.analytics.Query`; lists may be joined by commas.

    Raises:
        typer.BadParameter: a measure, span or condition is none.
    """
    for name in _split(measure):
        if name not in MEASURES:
            raise typer.BadParameter(f'no measure "{name}", expected {", ".join(MEASURES)}.')
    seconds = span(step) if step else 0
    if seconds != int(seconds):
        raise typer.BadParameter(f'the step "{step}" is no whole number of seconds.')
    return {
        "measures": _split(measure) or DEFAULT,
        "group_by": _split(by),
        "where": [condition(text) for text in where],
        "window_s": span(window),
        "step_s": int(seconds),
        **fields,
    }


def top(dimension: str, *, measure: list[str], **fields: Any) -> dict[str, Any]:
    """Give the query for the groups with most of the first measure, and the rest as one.

    Raises:
        typer.BadParameter: a span or condition is none.
    """
    asked = query(measure=measure, by=[dimension], **fields)
    return asked | {"order_by": f"-{asked['measures'][0]}", "others": True}


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _number(text: str, value: str) -> int | float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f'"{text}" compares with "{value}", expected a number.')
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
