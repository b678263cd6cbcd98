"""Turns what came over the wire into a checked `Request`; refuses what does not fit the route."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from stackctl.errors import Invalid
from stackctl_daemon.http.registry import Query, Route

MAX_QUERY_FIELDS = 64
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@lru_cache(maxsize=256)
def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=True)


def body(route: Route, raw: bytes | bytearray) -> Any:
    """Decode a body as the route's Struct; bytes for a raw route, None for one without a body.

    Raises:
        Invalid: not JSON, or not of the Struct's shape.
    """
    if route.raw:
        return bytes(raw)
    if route.body is None:
        return None
    try:
        return _decoder(route.body).decode(raw)
    # RecursionError: JSON nested deeper than the decoder's stack.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Invalid(f"body of {route.name}: {err}") from err


def split_target(target: bytes) -> tuple[str, str]:
    """Give path (still percent-encoded) and query string of a request target.

    Raises:
        Invalid: not an absolute path of ASCII.
    """
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError as err:
        raise Invalid("the request target is not ASCII") from err
    if not text.startswith("/"):
        raise Invalid(f'the request target "{text[:80]}" is not a path')
    path, _, query = text.partition("#")[0].partition("?")
    return path, query


def path_params(raw: dict[str, str]) -> dict[str, str]:
    """Undo the percent-encoding of path parameters.

    Raises:
        Invalid: not UTF-8, or with control characters.
    """
    found = {}
    for name, value in raw.items():
        try:
            text = unquote(value, errors="strict")
        except UnicodeDecodeError as err:
            raise Invalid(f"path parameter {name} is not UTF-8") from err
        if not text.isprintable():
            raise Invalid(f"path parameter {name} has control characters: {text!r}")
        found[name] = text
    return found


def query(route: Route, raw: str) -> dict[str, Any]:
    """Parse a query string by the route's parameters, defaults filled in.

    Raises:
        Invalid: unknown, repeated, of the wrong type or out of range.
    """
    values: dict[str, Any] = {q.name: q.default for q in route.queries}
    if not raw:
        return values
    known = {q.name: q for q in route.queries}
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except (ValueError, UnicodeDecodeError) as err:
        raise Invalid(f"query string: {err}") from err
    seen: set[str] = set()
    for name, text in pairs:
        if name not in known:
            expected = ", ".join(known) or "none"
            raise Invalid(f'unknown query parameter "{name[:80]}"; {route.name} knows {expected}')
        if name in seen:
            raise Invalid(f"query parameter {name} is given twice")
        seen.add(name)
        values[name] = _value(known[name], text)
    return values


def _value(parameter: Query, text: str) -> Any:
    value = _typed(parameter, text)
    size = len(value) if isinstance(value, str) else value
    low, high = parameter.minimum, parameter.maximum
    if (low is not None and size < low) or (high is not None and size > high):
        what = "length of " if isinstance(value, str) else ""
        between = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
        raise Invalid(f"{what}query parameter {parameter.name}={text[:80]}: expected {between}")
    return value


def _typed(parameter: Query, text: str) -> Any:
    if parameter.type is str:
        return text
    if parameter.type is bool and text in _BOOLEANS:
        return _BOOLEANS[text]
    # 18 digits: what fits 64 bits whatever the sign.
    if parameter.type is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if parameter.type is float and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise Invalid(
        f"query parameter {parameter.name}={text[:80]!r}: expected {parameter.type.__name__}"
    )
