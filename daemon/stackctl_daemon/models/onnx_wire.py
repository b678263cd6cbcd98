"""ONNX in protobuf's wire format, as far as our graphs need it; refuses to check a model.

Writing 40 kB of messages by hand takes milliseconds; importing ``onnx`` for it takes most of a
second and would be one more dependency.
Source: onnx/onnx.proto (IR version 8) and https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT, INT8, INT16, INT64, FLOAT16, BFLOAT16 = 1, 3, 5, 7, 10, 16
"""Values of ``TensorProto.DataType``."""

Attribute = int | float | Sequence[int]


def varint(value: int) -> bytes:
    """Encode an integer; a negative one takes ten bytes, as two's complement of 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Encode an integer field."""
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes | str) -> bytes:
    """Encode a string, bytes or message field."""
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute
) -> bytes:
    """Encode a NodeProto, named after its first output."""
    parts = [chunk(1, name) for name in inputs]
    parts += [chunk(2, name) for name in outputs]
    parts += [chunk(3, outputs[0]), chunk(4, kind)]
    parts += [chunk(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return chunk(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return chunk(1, name) + number(3, value) + number(20, 2)
    return chunk(1, name) + b"".join(number(8, item) for item in value) + number(20, 7)


def external_tensor(
    name: str, kind: int, shape: Sequence[int], *, file: str, offset: int, length: int
) -> bytes:
    """Encode a TensorProto whose bytes lie in ``file``, beside the graph."""
    entries = (("location", file), ("offset", str(offset)), ("length", str(length)))
    parts = [number(1, size) for size in shape]
    parts += [number(2, kind), chunk(8, name)]
    parts += [chunk(13, chunk(1, key) + chunk(2, value)) for key, value in entries]
    return b"".join(parts) + number(14, 1)  # data_location EXTERNAL


def int64_tensor(name: str, values: Sequence[int]) -> bytes:
    """Encode a one-dimensional int64 TensorProto that holds its values."""
    data = struct.pack(f"<{len(values)}q", *values)
    return number(1, len(values)) + number(2, INT64) + chunk(8, name) + chunk(9, data)


def int64_scalar(name: str, value: int) -> bytes:
    """Encode an int64 TensorProto of rank 0."""
    return number(2, INT64) + chunk(8, name) + chunk(9, struct.pack("<q", value))


def float_scalar(name: str, value: float) -> bytes:
    """Encode a float32 TensorProto of rank 0."""
    return number(2, FLOAT) + chunk(8, name) + chunk(9, struct.pack("<f", value))


def value_info(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """Encode a ValueInfoProto; a string in the shape is a free dimension's name."""
    sizes = [number(1, s) if isinstance(s, int) else chunk(2, s) for s in shape]
    dimensions = b"".join(chunk(1, size) for size in sizes)
    tensor = number(1, kind) + chunk(2, dimensions)
    return chunk(1, name) + chunk(2, chunk(1, tensor))


def model(
    *,
    name: str,
    nodes: Sequence[bytes],
    initializers: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    opset: int,
    metadata: Mapping[str, str] = {},
) -> bytes:
    """Encode a whole ModelProto."""
    graph = b"".join(
        [
            *(chunk(1, item) for item in nodes),
            chunk(2, name),
            *(chunk(5, item) for item in initializers),
            *(chunk(11, item) for item in inputs),
            *(chunk(12, item) for item in outputs),
        ]
    )
    operators = chunk(1, "") + number(2, opset)
    told = b"".join(chunk(14, chunk(1, key) + chunk(2, value)) for key, value in metadata.items())
    return number(1, 8) + chunk(2, "stackctl") + chunk(7, graph) + chunk(8, operators) + told
