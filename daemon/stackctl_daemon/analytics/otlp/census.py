"""Counts what a body holds before it is decoded: two bytes can ask for a message of hundreds.

Refuses to decode. Source: "Encoding", protobuf.dev; the field numbers are those of
opentelemetry-proto's collector requests.
"""

from __future__ import annotations

from stackctl.errors import Invalid, TooLarge

MAX_RECORDS = 250_000
"""Spans, points or log records of a request."""
MAX_OBJECTS = 1_000_000
"""Objects of a request in JSON: some 100 bytes each once they are decoded."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Where records lie: at each depth the fields that hold the next, the last being the records.
_PATHS: dict[str, tuple[frozenset[int], ...]] = {
    "traces": (frozenset({1}), frozenset({2}), frozenset({2})),
    "logs": (frozenset({1}), frozenset({2}), frozenset({2})),
    "metrics": (
        frozenset({1}),
        frozenset({2}),
        frozenset({2}),
        frozenset({5, 7, 9, 10, 11}),
        frozenset({1}),
    ),
}


def check_protobuf(signal: str, body: bytes, *, limit: int = MAX_RECORDS) -> int:
    """Give how many messages of every depth there are down to the records.

    Raises:
        TooLarge: more than ``limit``.
        Invalid: the wire format is broken, or has groups, which OTLP has not.
    """
    path = _PATHS[signal]
    found = 0
    spans = [(0, len(body), 0)]
    while spans:
        at, end, depth = spans.pop()
        wanted = path[depth]
        while at < end:
            key, at = _varint(body, at, end)
            kind = key & 7
            if kind == _BYTES:
                size, at = _varint(body, at, end)
                if size > end - at:
                    raise Invalid(
                        "the OTLP protobuf body is malformed: a field beyond its message"
                    )
                if key >> 3 in wanted:
                    found += 1
                    if found > limit:
                        raise TooLarge(f"the request holds more than {limit} records")
                    if depth + 1 < len(path):
                        spans.append((at, at + size, depth + 1))
                at += size
            elif kind == _VARINT:
                _, at = _varint(body, at, end)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                raise Invalid(f"the OTLP protobuf body is malformed: wire type {kind}")
    return found


def check_json(body: bytes, *, limit: int = MAX_OBJECTS) -> int:
    """Give how many objects there are at most: braces in text count too.

    Raises:
        TooLarge: more than ``limit``.
    """
    found = body.count(b"{")
    if found > limit:
        raise TooLarge(f"the request holds {found} objects, at most {limit}")
    return found


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Invalid("the OTLP protobuf body is malformed: a number that does not end")
