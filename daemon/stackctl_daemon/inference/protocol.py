"""Frames between the daemon and a worker; refuses to know what is done with them.

A frame is the sizes of header and body as two little-endian uint32, a msgpack header, a body of
raw bytes. Both ends are the same installation, so there is no version.
"""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

Priority = Literal["interactive", "batch"]


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Open a session; replaces one of the same name."""

    key: str
    """Name and digest of the model's files."""
    name: str
    graph: str
    tokenizer: str
    max_tokens: int
    dimensions: int


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Embed texts; answered by `Embedded` or `Refused`."""

    id: int
    key: str
    texts: list[str]
    priority: Priority


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Drop what is not computed yet of a request that nobody waits for."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker runs on its cores."""

    pid: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A session is open."""

    key: str
    name: str
    execution_provider: str


class Computed(msgspec.Struct, frozen=True, tag="computed"):
    """A batch ran; also the sign of life of a busy worker."""

    name: str
    items: int
    tokens: int
    duration_s: float


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """Vectors of a request: the body is ``(count, dimensions)`` float32, little-endian."""

    id: int
    count: int
    dimensions: int
    tokens: int
    truncated: int
    queue_s: float
    compute_s: float
    execution_provider: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A request failed, and would fail again."""

    id: int
    message: str
    hint: str = ""
    device_fault: bool = False
    """The device is at fault, not the request: another device may do it."""


Command = Load | Embed | Forget
Report = Ready | Loaded | Computed | Embedded | Refused

PREFIX = struct.Struct("<II")
MAX_FRAME_BYTES = 1 << 30
_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def pack(header: Command | Report, body: bytes = b"") -> bytes:
    """Give a frame."""
    data = _encoder.encode(header)
    return PREFIX.pack(len(data), len(body)) + data + body


def sizes(prefix: bytes) -> tuple[int, int]:
    """Read a frame's first 8 bytes: sizes of header and body.

    Raises:
        ValueError: nothing of ours is that large.
    """
    header, body = PREFIX.unpack(prefix)
    if header + body > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {header + body} bytes")
    return header, body


def read_command(data: bytes) -> Command:
    """Decode a header that the daemon sent."""
    return _commands.decode(data)


def read_report(data: bytes) -> Report:
    """Decode a header that a worker sent."""
    return _reports.decode(data)
