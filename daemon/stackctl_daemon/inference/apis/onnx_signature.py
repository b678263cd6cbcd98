"""Names, types and shapes of an ONNX graph's inputs and outputs, read out of its file.

Refuses to load it: weights are skipped and not read. Opening a session would cost their memory.
Source: onnx/onnx.proto and https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stackctl.errors import ModelCorrupt

_DATATYPES = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
_VARINT, _FIXED64, _CHUNK, _FIXED32 = 0, 1, 2, 5
Buffer = mmap.mmap | bytes


class Value(NamedTuple):
    """An input or output."""

    name: str
    datatype: str
    """Of the Open Inference Protocol; empty: it has none."""
    shape: list[int]
    """-1: any size."""


class Signature(NamedTuple):
    """What a graph takes and gives."""

    inputs: list[Value]
    outputs: list[Value]


def read(file: Path) -> Signature:
    """Read a graph's signature.

    Raises:
        ModelCorrupt: it is no ONNX file.
    """
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as data:
            return _model(data)
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as err:
        raise ModelCorrupt(f"{file} is not an ONNX graph: {err}") from err


def _model(data: Buffer) -> Signature:
    inputs: list[Value] = []
    outputs: list[Value] = []
    weights: set[str] = set()
    for field, start, end in _chunks(data, 0, len(data)):
        if field != 7:  # ModelProto.graph
            continue
        for inner, begin, stop in _chunks(data, start, end):
            if inner == 5:  # GraphProto.initializer: old exporters list them among the inputs
                weights |= {_text(data, a, b) for f, a, b in _chunks(data, begin, stop) if f == 8}
            elif inner in (11, 12):
                (inputs if inner == 11 else outputs).append(_value(data, begin, stop))
    if not outputs:
        raise ValueError("it has no outputs")
    return Signature([value for value in inputs if value.name not in weights], outputs)


def _value(data: Buffer, start: int, end: int) -> Value:
    name, kind = "", 0
    shape: list[int] = []
    for field, begin, stop in _chunks(data, start, end):
        if field == 1:  # ValueInfoProto.name
            name = _text(data, begin, stop)
        elif field == 2:  # .type
            for inner, a, b in _chunks(data, begin, stop):
                if inner == 1:  # TypeProto.tensor_type
                    kind, shape = _tensor(data, a, b)
    return Value(name, _DATATYPES.get(kind, ""), shape)


def _tensor(data: Buffer, start: int, end: int) -> tuple[int, list[int]]:
    kind = 0
    shape: list[int] = []
    for field, wire, begin, stop in _fields(data, start, end):
        if field == 1 and wire == _VARINT:  # Tensor.elem_type
            kind = begin
        elif field == 2 and wire == _CHUNK:  # .shape
            for inner, a, b in _chunks(data, begin, stop):
                if inner == 1:  # TensorShapeProto.dim
                    sizes = [v for f, w, v, _ in _fields(data, a, b) if (f, w) == (1, _VARINT)]
                    shape.append(sizes[0] if sizes else -1)
    return kind, shape


def _chunks(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give number, start and end of the fields that are strings or messages."""
    for field, wire, begin, stop in _fields(data, start, end):
        if wire == _CHUNK:
            yield field, begin, stop


def _fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Give number, wire type, and start and end of each field; a varint's value as its start."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, wire, value, at
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if wire == _CHUNK:
            size, at = _varint(data, at)
        if size < 0 or at + size > end:
            raise ValueError(f"field {field} at byte {at} does not fit")
        yield field, wire, at, at + size
        at += size


def _varint(data: Buffer, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            # Negative numbers are two's complement of 64 bits.
            return (value - (1 << 64) if value >> 63 else value), at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} is too long")


def _text(data: Buffer, start: int, end: int) -> str:
    return bytes(data[start:end]).decode()
