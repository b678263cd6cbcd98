"""Inputs and results as the bytes of a frame; refuses to copy more than once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stackctl.errors import Invalid
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Array, Input, Result

ROWS = -1
DTYPES = {
    f"{order}{kind}"
    for order, kinds in (
        ("<", ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")),
        ("|", ("i1", "u1", "b1")),
    )
    for kind in kinds
}


def pack_inputs(inputs: Sequence[Input]) -> tuple[dict[str, Any], bytes]:
    """Give the fields of `wire.Run` that describe inputs, and the body.

    Raises:
        Invalid: they are not all of one kind.
    """
    if all(item.text is not None for item in inputs):
        return {"texts": [item.text for item in inputs]}, b""
    if all(item.data is not None for item in inputs):
        blobs = [item.data or b"" for item in inputs]
        return {"blobs": [len(blob) for blob in blobs]}, b"".join(blobs)
    if all(item.tensors is not None for item in inputs):
        infos, body = _pack([(i, item.tensors or {}) for i, item in enumerate(inputs)])
        return {"tensors": infos}, body
    raise Invalid("the inputs of a request are all texts, all bytes or all tensors")


def unpack_inputs(command: wire.Run, body: bytes) -> list[Input]:
    """Give the inputs of a request."""
    if command.blobs:
        found, start = [], 0
        for size in command.blobs:
            found.append(Input(data=body[start : start + size]))
            start += size
        return found
    if command.tensors:
        groups = _unpack(command.tensors, body)
        return [Input(tensors=groups[index]) for index in sorted(groups)]
    return [Input(text=text) for text in command.texts]


def pack_results(results: Any) -> tuple[list[Any], list[wire.Tensor], bytes]:
    """Give values, descriptions of tensors, and the body."""
    if isinstance(results, np.ndarray):
        info = wire.Tensor(ROWS, "rows", "<f4", list(results.shape))
        return [], [info], results.astype("<f4", copy=False).tobytes()
    infos, body = _pack([(i, result.tensors or {}) for i, result in enumerate(results)])
    values = [result.value for result in results]
    return values, infos, body


def unpack_results(answer: wire.Answer, body: bytes) -> list[Result]:
    """Give the results of an answer, one an input."""
    if answer.tensors and answer.tensors[0].item == ROWS:
        rows = rows_of(answer, body)
        return [Result(tensors={"embedding": row}) for row in rows]
    groups = _unpack(answer.tensors, body)
    return [Result(value, groups.get(index)) for index, value in enumerate(answer.values)]


def rows_of(answer: wire.Answer, body: bytes) -> Any:
    """Give the rows of an answer that is nothing else: ``(count, width)`` float32."""
    [info] = answer.tensors
    return np.frombuffer(body, info.dtype).reshape(info.shape)


def _pack(groups: Sequence[tuple[int, Mapping[str, Array]]]) -> tuple[list[wire.Tensor], bytes]:
    infos: list[wire.Tensor] = []
    parts: list[bytes] = []
    for index, tensors in groups:
        for name, value in tensors.items():
            plain = np.ascontiguousarray(value).reshape(np.shape(value))
            plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
            dtype = plain.dtype.str.replace("=", "<")
            if dtype not in DTYPES:
                raise Invalid(f'tensor "{name}" has the type {plain.dtype}')
            infos.append(wire.Tensor(index, name, dtype, list(plain.shape)))
            parts.append(plain.tobytes())
    return infos, b"".join(parts)


def _unpack(infos: Sequence[wire.Tensor], body: bytes) -> dict[int, dict[str, Array]]:
    groups: dict[int, dict[str, Array]] = {}
    start = 0
    for info in infos:
        dtype = np.dtype(info.dtype)
        count = int(np.prod(info.shape, dtype=np.int64))
        found = np.frombuffer(body, dtype, count, start).reshape(info.shape)
        groups.setdefault(info.item, {})[info.name] = found
        start += count * dtype.itemsize
    return groups
