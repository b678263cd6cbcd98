"""Options of a request, checked; refuses to know what they do."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from stackctl.errors import Invalid

_MOST_SHOWN = 80


def shown(value: Any) -> str:
    """Give a value as its request wrote it: as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def check_known(model: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse options that the model kind does not have: a misspelt one would do nothing.

    Raises:
        Invalid: there is one.
    """
    strange = sorted(set(options) - set(known))
    if strange:
        expected = ", ".join(sorted(known)) or "none"
        raise Invalid(f'model "{model}" has no option "{strange[0]}", expected {expected}')


def read_int(options: Mapping[str, Any], name: str, default: int, *, low: int, high: int) -> int:
    """Give a whole number.

    Raises:
        Invalid: it is none, or out of its range.
    """
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(
            f'option "{name}" is {shown(value)}, expected a whole number, {low} to {high}'
        )
    return value


def read_float(
    options: Mapping[str, Any], name: str, default: float, *, low: float, high: float
) -> float:
    """Give a number.

    Raises:
        Invalid: it is none, or out of its range.
    """
    value = options.get(name)
    if value is None:
        return default
    # NaN is in no range.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Invalid(f'option "{name}" is {shown(value)}, expected a number, {low} to {high}')
    return float(value)


def read_bool(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """Give true or false.

    Raises:
        Invalid: it is neither.
    """
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Invalid(f'option "{name}" is {shown(value)}, expected true or false')
    return value


def read_query(model: str, options: Mapping[str, Any]) -> str:
    """Give the query that documents are ranked for.

    Raises:
        Invalid: there is none.
    """
    query = options.get("query")
    if not isinstance(query, str) or not query.strip():
        raise Invalid(
            f'model "{model}" ranks documents for a query, option "query" is {shown(query)},'
            " expected a text that is not empty"
        )
    return query
