"""Frames of the segment log: one batch of events as checked bytes, and back.

Refuses to touch files. A frame is ``u32 length | u32 crc32 | payload``, little-endian; the payload
is msgpack ``["SCE1", count, [row, ...]]``. It begins with bytes that cannot occur inside a UTF-8
string (0x93 never leads one), so that whole frames can be found again behind damaged bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from stackctl.contracts.event import Event, EventKind, Outcome
from stackctl.errors import Invalid, TooLarge

MAX_FRAME_BYTES = 16 << 20
"""A frame above it is refused; a length above it on disk is damage."""
MAX_ATTRIBUTES_BYTES = 8 << 10

_HEADER = struct.Struct("<II")
_COUNT = struct.Struct(">BI")  # msgpack's uint32, so that the prefix has one length
_MAGIC = b"\x93\xa4SCE1"
_MAX = 2**53

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX)]


class StoredEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as it lies in a frame and in DuckDB: the contract's fields, checked, in order."""

    id: Name
    kind: EventKind
    name: Name
    time_us: Count
    outcome: Outcome
    error_code: Text
    duration_s: Annotated[float, msgspec.Meta(ge=0, le=1e12)]
    items: Count
    tokens: Count
    model: Text
    device: Text
    job_id: Text
    request_id: Text
    uid: Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
    attributes: str
    """JSON text of an object."""


COLUMNS = StoredEvent.__struct_fields__
"""Names of a row's values, in order."""

Row = list[Any]  # Any: a row's values have the types of StoredEvent
_encoder = msgspec.msgpack.Encoder()
_checker = msgspec.msgpack.Decoder(list[StoredEvent])
_decoder = msgspec.msgpack.Decoder(tuple[str, int, list[Row]])


def encode_frame(events: Sequence[Event]) -> bytes:
    """Check events and give the frame that holds them.

    Raises:
        Invalid: a field is out of range, or attributes are not JSON or above 8 KiB; the message
            names the event's position and the field.
        TooLarge: the frame would be above ``MAX_FRAME_BYTES``.
    """
    try:
        rows = _encoder.encode([_row(at, event) for at, event in enumerate(events)])
        # Decoding into the constrained type is the check, and proves that the bytes read back.
        _checker.decode(rows)
    except msgspec.ValidationError as err:
        raise Invalid(f"events: {_readable(str(err))}") from err
    except (UnicodeError, OverflowError) as err:
        raise Invalid(f"events: a value cannot be stored: {err}") from err
    payload = b"".join((_MAGIC, _COUNT.pack(0xCE, len(events)), rows))
    if len(payload) > MAX_FRAME_BYTES:
        raise TooLarge(
            f"{len(events)} events are {len(payload)} bytes, at most {MAX_FRAME_BYTES} in a batch"
        )
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def decode_rows(data: bytes, start: int, end: int) -> list[Row]:
    """Give the rows of the whole frame that lies at ``data[start:end]``."""
    return _decoder.decode(memoryview(data)[start + _HEADER.size : end])[2]


def frame_end(data: bytes, start: int) -> int | None:
    """Give where the frame at ``start`` ends, or None when no whole sound frame is there."""
    body = start + _HEADER.size
    if body > len(data):
        return None
    length, crc = _HEADER.unpack_from(data, start)
    end = body + int(length)
    if length > MAX_FRAME_BYTES or end > len(data):
        return None
    if not data.startswith(_MAGIC, body) or zlib.crc32(memoryview(data)[body:end]) != crc:
        return None
    return end


def cut_short(data: bytes, start: int) -> bool:
    """Say whether bytes that are no sound frame are the begin of one whose end is missing.

    As a write that did not come to its end leaves it: fewer bytes than its header promises. A
    header whose length alone was changed is known by the checksum of what is there.
    """
    body = start + _HEADER.size
    if body > len(data):
        return True
    length, crc = _HEADER.unpack_from(data, start)
    if length > MAX_FRAME_BYTES or body + int(length) <= len(data):
        return False
    return bool(zlib.crc32(memoryview(data)[body:]) != crc)


def frame_count(data: bytes, start: int) -> int:
    """Give how many events the sound frame at ``start`` holds, without decoding them."""
    return int(_COUNT.unpack_from(data, start + _HEADER.size + len(_MAGIC))[1])


def next_frame(data: bytes, start: int) -> int | None:
    """Give where the first sound frame after damage at ``start`` begins, or None."""
    at = data.find(_MAGIC, start + 1)
    while at >= 0:
        candidate = at - _HEADER.size
        if candidate > start and frame_end(data, candidate) is not None:
            return candidate
        at = data.find(_MAGIC, at + 1)
    return None


def _row(at: int, event: Event) -> tuple[Any, ...]:
    values = msgspec.structs.astuple(event)
    attributes = values[-1]
    if not attributes:
        return (*values[:-1], "{}")
    try:
        text = msgspec.json.encode(attributes)
    except (TypeError, ValueError, RecursionError, OverflowError) as err:
        raise Invalid(f"events[{at}]: attributes are not JSON: {err}") from err
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise Invalid(
            f"events[{at}]: attributes are {len(text)} bytes, at most {MAX_ATTRIBUTES_BYTES}"
        )
    return (*values[:-1], text.decode())


def _readable(message: str) -> str:
    """Turn the last ``[n]`` of a path (``$[3][6]``) into the field's name."""
    head, _, path = message.rpartition("`$")
    parts = path.rstrip("`").strip("[]").split("][")
    if len(parts) != 2 or not parts[1].isdigit():
        return message
    return f"{head}`events[{parts[0]}].{COLUMNS[int(parts[1])]}`"
