"""Fields of a question: what each may be compared with, and how DuckDB reads it.

Refuses to put a value into SQL: values are parameters, and names come from the lists here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from stackctl.contracts.analytics import Filter
from stackctl.errors import Invalid
from stackctl_daemon.analytics.rollup import DIMENSIONS

TEXTS = ("kind", "name", "outcome", "error_code", "model", "device", "job_id", "request_id")
NUMBERS = ("duration_s", "items", "tokens")
_ATTRIBUTE = re.compile(r'attributes\.([^"\\\x00-\x1f]{1,128})')
_SIGNS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_ALLOWED = f"{', '.join((*TEXTS, 'uid'))} or attributes.KEY"


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and its parameters, in order."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event."""

    name: str
    type: Literal["text", "uid", "number", "attribute"]
    sql: Sql

    @property
    def rolled_up(self) -> bool:
        """Whether minutes and hours tell it apart."""
        return self.name in DIMENSIONS


def dimension(name: str, where: str = "group_by") -> Field:
    """Give a field that groups can be made of.

    Raises:
        Invalid: it is none; the message lists those there are.
    """
    if name in TEXTS:
        return Field(name, "text", Sql(name))
    if name == "uid":
        return Field(name, "uid", Sql(name))
    if found := _ATTRIBUTE.fullmatch(name):
        path = f'$."{found[1]}"'
        return Field(
            name, "attribute", Sql("coalesce(json_extract_string(attributes, ?), '')", (path,))
        )
    raise Invalid(f'{where} has "{name}", expected {_ALLOWED}')


def condition(at: int, wanted: Filter) -> tuple[Field, Sql]:
    """Give a condition's field and the SQL of its test.

    Raises:
        Invalid: the field, the operator or the value does not fit; the message names it.
    """
    place = f"where[{at}]"
    if wanted.field in NUMBERS:
        field = Field(wanted.field, "number", Sql(wanted.field))
    else:
        try:
            field = dimension(wanted.field, f"{place}.field")
        except Invalid as err:
            raise Invalid(f"{err.message} or {', '.join(NUMBERS)}") from None
    return field, _test(place, field, wanted)


def _test(place: str, field: Field, wanted: Filter) -> Sql:
    value = wanted.value
    if wanted.op == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= 1000:
            raise Invalid(f'{place}.value is {_shown(value)}, "in" expects a list of 1 to 1,000')
        values = [_value(place, field, entry) for entry in value]
        marks = ", ".join("?" * len(values))
        return Sql(f"{field.sql.text} IN ({marks})", (*field.sql.values, *values))
    if wanted.op == "prefix":
        if field.type not in ("text", "attribute") or not isinstance(value, str):
            raise Invalid(
                f'{place}: "prefix" expects a field of text and text, got {_shown(value)}'
            )
        return Sql(f"starts_with({field.sql.text}, ?)", (*field.sql.values, value))
    if wanted.op in ("gt", "ge", "lt", "le"):
        if field.type in ("text", "uid"):
            raise Invalid(f'{place}.op is "{wanted.op}", {field.name} allows eq, ne and in')
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Invalid(f"{place}.value is {_shown(value)}, expected a number")
        left = field.sql.text
        if field.type == "attribute":
            left = f"TRY_CAST({left} AS DOUBLE)"
        return Sql(
            f"{left} {_SIGNS[wanted.op]} ?", (*field.sql.values, _value(place, field, value))
        )
    sign = _SIGNS[wanted.op]
    return Sql(f"{field.sql.text} {sign} ?", (*field.sql.values, _value(place, field, value)))


def _value(place: str, field: Field, value: Any) -> Any:
    """Give a value of the field's type."""
    if field.type == "uid" and isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        value = int(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Invalid(f"{place}.value is {value}, expected a number of 64 bits")
    if field.type == "attribute":
        if number or isinstance(value, bool):
            return _json(value)
        expected = "text or a number"
    elif field.type == "text":
        expected = "text"
    else:
        expected = "a number"
        whole = field.type == "number" or isinstance(value, int)
        if number and whole:
            return value
    if isinstance(value, str) and field.type in ("text", "attribute"):
        return value
    raise Invalid(f"{place}.value is {_shown(value)}, expected {expected} for {field.name}")


def _json(value: Any) -> Any:
    """Attributes are read as text: a number or truth as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
