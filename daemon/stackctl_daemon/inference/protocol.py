"""Frames between the daemon and a worker; refuses to know what is done with them.

A frame is the sizes of header and body as two little-endian uint32, a msgpack header, a body of
raw bytes. Both ends are the same installation, so there is no version. Times are of the
monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

from stackctl.errors import Invalid, TooLarge

Priority = Literal["interactive", "batch"]


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Open a model; replaces one of the same name that nobody waits for.

    One that is open is kept on these terms from now on; requests go on meanwhile.
    """

    key: str
    """Name and digest of the model's files and options."""
    name: str
    adapter: str
    directory: str
    graph: str
    """Empty where the adapter opens the files of the directory itself."""
    tokenizer: str
    max_tokens: int
    dimensions: int
    options: dict[str, Any] = {}
    """The adapter's own."""
    budget: int = 0
    """Padded cost of a batch as it was calibrated on this device; 0: the adapter's own."""
    replicas: int = 1
    """Batches of it that are computed at once."""
    latency_target_s: float = 0.0
    """What the 95th percentile from arrival to answer should stay under; 0: none."""


class Tune(msgspec.Struct, frozen=True, tag="tune"):
    """Find the batch budget of a loaded model while nobody waits; answered by `Tuned`."""

    key: str
    seconds: float
    """Of computing, at most."""


class Unload(msgspec.Struct, frozen=True, tag="unload"):
    """Close a model once nobody waits for it; answered by `Unloaded`."""

    key: str


class Trim(msgspec.Struct, frozen=True, tag="trim"):
    """Give back memory that is not used; answered by `Trimmed`."""


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """Where a tensor stands in the body: they follow one another, C order, little-endian."""

    item: int
    """The input or result that it belongs to; -1: a row of it for each."""
    name: str
    dtype: str
    """As numpy writes it: ``<f4``."""
    shape: list[int]


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Compute inputs of one kind; answered by `Answer`, `Refused`, or `Part` and then one of them.

    One of ``texts``, ``blobs`` and ``tensors`` says what the inputs are.
    """

    id: int
    key: str
    priority: Priority
    texts: list[str] = []
    blobs: list[int] = []
    """Sizes of the inputs, which follow one another in the body."""
    tensors: list[Tensor] = []
    options: dict[str, Any] = {}
    deadline: float = 0.0
    """When nobody waits any more; 0: never."""
    user: int = -1
    """Whose share of the device it takes."""
    stream: bool = False
    """Send results in parts as they come about."""
    sent: float = 0.0
    """When the daemon did."""


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Drop what is not computed yet of a request that nobody waits for."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker runs on its cores."""

    pid: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A model is open."""

    key: str
    name: str
    execution_provider: str
    load_s: float
    memory_bytes: int
    """Growth of the worker's proportional set size: measured, so an estimate."""
    replicas: int = 1


class Unloaded(msgspec.Struct, frozen=True, tag="unloaded"):
    """A model is closed."""

    key: str
    name: str
    memory_bytes: int
    """What the worker gave back."""


class Trimmed(msgspec.Struct, frozen=True, tag="trimmed"):
    """Memory was given back."""

    memory_bytes: int
    """By how much the worker's own memory shrank."""


class TuneRow(msgspec.Struct, frozen=True, array_like=True):
    """One batch budget as it was measured."""

    budget: int
    items: int
    cost: int
    """Padded: what the budget bounds."""
    duration_s: float
    """The best of its runs."""


class Tuned(msgspec.Struct, frozen=True, tag="tuned"):
    """A calibration ended."""

    key: str
    rows: list[TuneRow]
    budget: int
    """The smallest that is within 5 % of the best; 0: nothing was measured."""
    message: str = ""
    """Why nothing was measured."""


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """A model could not be opened; whoever asks for it is refused in the same words."""

    key: str
    name: str
    message: str
    hint: str = ""
    device_fault: bool = False
    kept: bool = False
    """The model is still there, on the terms that it was on."""


class Paced(msgspec.Struct, frozen=True, tag="paced"):
    """How a model keeps to its target of latency; now and then."""

    key: str
    budget: int
    """Padded cost that a batch may have now."""
    p95_s: float
    """From arrival to answer."""


class Computed(msgspec.Struct, frozen=True, tag="computed"):
    """A batch ran; also the sign of life of a busy worker."""

    name: str
    items: int
    tokens: int
    duration_s: float
    padded_tokens: int = 0
    queue_s: float = 0.0
    """How long the item that waited longest did."""


class Preparing(msgspec.Struct, frozen=True, tag="preparing"):
    """Inputs of a model are being decoded; the sign of life of a worker that computes nothing."""

    key: str


class Busy(msgspec.Struct, frozen=True, tag="busy"):
    """Which job runs for long beside what else is done; said when that changes."""

    since: float
    """When the oldest began, or last gave something; 0: none does any more."""


class Part(msgspec.Struct, frozen=True, tag="part"):
    """A piece of a streamed answer."""

    id: int
    item: int
    value: Any


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Results of a request; their tensors are the body."""

    id: int
    count: int
    values: list[Any]
    """One a result, or empty where the tensors say all."""
    tensors: list[Tensor]
    tokens: int
    truncated: int
    queue_s: float
    """From arrival to the first batch that took part of it."""
    batch_s: float
    """In batches, from the first one's start to the last one's end, beyond its own share."""
    compute_s: float
    """Its share, by cost, of the batches it was in."""
    execution_provider: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A request failed, and would fail again."""

    id: int
    message: str
    hint: str = ""
    device_fault: bool = False
    """The device is at fault, not the request: another device may do it."""
    code: str = "failed"
    """Code of the class in `stackctl.errors`."""
    queue_s: float | None = None
    """How long it waited; None: it was not queued."""


Command = Load | Unload | Tune | Trim | Run | Forget
Report = (
    Ready
    | Loaded
    | Unloaded
    | Tuned
    | Trimmed
    | LoadFailed
    | Paced
    | Computed
    | Preparing
    | Busy
    | Part
    | Answer
    | Refused
)

PREFIX = struct.Struct("<II")
MAX_FRAME_BYTES = 1 << 30
_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def pack(header: Command | Report, body: bytes = b"") -> bytes:
    """Give a frame.

    Raises:
        TooLarge: the other end would not read it.
        Invalid: the header holds what no frame can, as half of a surrogate pair.
    """
    try:
        data = _encoder.encode(header)
    except (UnicodeEncodeError, OverflowError, TypeError, RecursionError) as err:
        raise Invalid(f"{type(header).__name__.lower()} cannot be sent: {err}") from err
    fits(len(data) + len(body))
    return PREFIX.pack(len(data), len(body)) + data + body


def fits(size: int) -> None:
    """See to it that so many bytes can go in one frame.

    Raises:
        TooLarge: they cannot.
    """
    if size > MAX_FRAME_BYTES:
        raise TooLarge(
            f"{size} bytes for one worker to take or give at once, expected at most"
            f" {MAX_FRAME_BYTES}: ask for less in a request"
        )


def plain(text: str) -> str:
    """Give a text as it can be sent: what is no Unicode is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_options(options: dict[str, Any]) -> None:
    """See to it that options can go to a worker.

    Raises:
        Invalid: one holds a number that no frame can.
    """
    for name, value in options.items():
        try:
            _encoder.encode(value)
        except OverflowError as err:
            raise Invalid(
                f'option "{name[:80]}" holds a whole number beyond 64 bits, expected -2**63 to'
                " 2**64 - 1"
            ) from err


def sizes(prefix: bytes | memoryview) -> tuple[int, int]:
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
