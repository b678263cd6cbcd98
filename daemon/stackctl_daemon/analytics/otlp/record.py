"""What the signals share: attributes within the store's bounds, times, ids.

Refuses to drop anything silently: what is cut says so in the event, and is counted.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stackctl.contracts.event import Event
from stackctl_daemon.analytics.frame import MAX_ATTRIBUTES_BYTES

MAX_NAME = 256
MAX_TEXT = 1024
MAX_KEY = 256
MAX_DEPTH = 8
FUTURE_US = 86_400_000_000
"""A record further ahead of us than a day is stored at the time it came."""
_MAX_INT = 2**53
_CUTS = (1024, 256, 64, 16)
_ROOM = MAX_ATTRIBUTES_BYTES - 64  # for what says that the rest was cut
_encode = msgspec.json.Encoder().encode


class Record(NamedTuple):
    """An event and about how many bytes it takes."""

    event: Event
    size: int


@dataclass(slots=True)
class Batch:
    """One export request as it is converted: when, whose, and what was not as it should be."""

    now_us: int
    uid: int = -1
    stored: int = 0
    rejected: int = 0
    reason: str = ""
    """Why the first was rejected."""
    truncated: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: str, count: int = 1) -> None:
        """Count records that cannot be stored."""
        self.rejected += count
        self.reason = self.reason or reason

    def time(self, nanoseconds: int, attributes: dict[str, Any]) -> int:
        """Give microseconds; of a record without a time, or far ahead of us, when it came.

        What it said is then kept as ``sent_time_us``.
        """
        if nanoseconds <= 0:
            return self.now_us
        found = microseconds(nanoseconds)
        if found > self.now_us + FUTURE_US:
            attributes["sent_time_us"] = found
            return self.now_us
        return found

    def id(self, *parts: Any) -> str:
        """Give an id that the same record has again when its batch is sent again.

        Records of a batch that are the same in everything are told apart by their order.
        """
        digest = hashlib.blake2b(_encode(parts), digest_size=16).hexdigest()
        self.seen[digest] += 1
        again = self.seen[digest]
        return digest if again == 1 else f"{digest}-{again}"

    def record(self, own: dict[str, Any], sent: Mapping[str, Any], **fields: Any) -> Record:
        """Make a record; ``own`` attributes go before those that were sent."""
        attributes, size, cut = bounded(own, sent)
        self.truncated += cut
        return Record(Event(uid=self.uid, attributes=attributes, **fields), size + 512)


class Sender:
    """A resource and a scope: what all of a group's records say."""

    def __init__(self, resource: Any, scope: Any) -> None:
        found = attributes(resource.attributes)
        self.service = _as_text(found.pop("service.name", ""))[:MAX_TEXT]
        self.rest = {
            f"resource.{key}": value
            for key, value in found.items()
            # Which SDK sent it is the same in every record of a program, and long.
            if not key.startswith("telemetry.sdk.")
        }
        self.scope: str = scope.name[:MAX_TEXT]

    def own(self) -> dict[str, Any]:
        """Give the attributes that begin every record."""
        found = {"service": self.service, "scope": self.scope}
        return {key: value for key, value in found.items() if value}


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """Give attributes as JSON values; of a key given twice the last counts."""
    return {pair.key[:MAX_KEY]: plain(pair.value) for pair in pairs}


def plain(value: Any, depth: int = 0) -> Any:
    """Give an AnyValue as JSON; bytes as base64, numbers that JSON lacks as text."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    match kind:
        case "double_value":
            return number(found)
        case "bytes_value":
            return base64.b64encode(found).decode()
        case "array_value" | "kvlist_value" if depth >= MAX_DEPTH:
            return "(nested too deeply)"
        case "array_value":
            return [plain(item, depth + 1) for item in found.values]
        case "kvlist_value":
            return {p.key[:MAX_KEY]: plain(p.value, depth + 1) for p in found.values}
        case "string_value" | "bool_value" | "int_value":
            return found
        case _:  # a type of a newer protocol
            return _as_text(found)


def microseconds(nanoseconds: int) -> int:
    """Give a time in microseconds, 0 to 2**53."""
    return min(max(nanoseconds, 0) // 1000, _MAX_INT)


def number(value: float) -> float | str:
    """Give a number as JSON has it, or ``NaN``, ``Infinity``, ``-Infinity`` as text."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def hexadecimal(identifier: bytes | str | None, size: int) -> str:
    """Give an id of ``size`` bytes in hexadecimal; empty for none, or a malformed one."""
    if not identifier:
        return ""
    try:
        raw = bytes.fromhex(identifier) if isinstance(identifier, str) else identifier
    except ValueError:
        return ""
    return raw.hex() if len(raw) == size and any(raw) else ""


def count(value: Any) -> int:
    """Give a count that the store takes; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return min(int(value), _MAX_INT) if 0 <= value < math.inf else 0


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """Give a field's text within the store's bound."""
    return _as_text(value)[:limit]


def bounded(own: dict[str, Any], sent: Mapping[str, Any]) -> tuple[dict[str, Any], int, bool]:
    """Give attributes of at most 8 KiB of JSON, their size, and whether any was cut.

    A sent key that is one of ours goes on as ``sent.KEY``. Too much: long values are cut to ever
    fewer characters, then the last keys go; ``truncated`` then says how many bytes there were.
    """
    found = dict(own)
    for key, value in sent.items():
        found[f"sent.{key}" if key in own else key] = value
    size = len(_encode(found))
    if size <= MAX_ATTRIBUTES_BYTES:
        return found, size, False
    for limit in _CUTS:
        cut = {key[:MAX_KEY]: _cut(value, limit) for key, value in found.items()}
        now = len(_encode(cut))
        if now <= _ROOM:
            break
    while now > _ROOM:
        key, value = cut.popitem()
        now -= len(_encode({key: value})) - 1
    cut |= {"truncated": True, "truncated_bytes": size}
    return cut, len(_encode(cut)), True


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, list | dict):
        raw = _encode(value)
        return value if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore")
    return value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()
