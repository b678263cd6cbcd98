"""Tensors and errors of the Open Inference Protocol v2, over REST; refuses to know any model.

Sources: KServe's Open Inference Protocol (rest_predict_v2), and Triton's binary tensor data
extension: the JSON header's length stands in Inference-Header-Content-Length, and tensors
follow it in the order of the header, those of strings with a uint32 length before each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from stackctl.errors import Failed, Invalid, StackctlError
from stackctl_daemon.http.registry import ErrorShape
from stackctl_daemon.inference.adapters.base import Array

HEADER_LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"
MAX_RANK = 16
MAX_SIDE = (1 << 31) - 1
_MAX_DIGITS = 19
_EXTENSIONS = frozenset(("classification", "shared_memory_region"))
"""Of Triton, which we do not have: an answer without them would not be what was asked for."""
DATATYPES: dict[str, str] = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NAMES = {np.dtype(dtype): name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")


class InferenceError(msgspec.Struct, frozen=True):
    """An error of this protocol."""

    error: str


def _error(error: StackctlError, request_id: str, status: int) -> InferenceError:
    return InferenceError(error.message + (f" (fix: {error.hint})" if error.hint else ""))


ERRORS = ErrorShape(_error, InferenceError)


class InputTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a request; its data are here or behind the JSON."""

    name: str
    shape: list[Annotated[int, Meta(ge=0)]]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None
    """Flat, or nested as the shape says."""


class OutputRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Inference: named tensors in."""

    inputs: list[InputTensor]
    id: str = ""
    outputs: list[OutputRequest] = []
    """Empty: all."""
    parameters: dict[str, Any] = {}
    """``binary_data_output``; the rest are the model kind's own options."""


class OutputTensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Inference: named tensors out."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


class Asked(NamedTuple):
    """A request with its tensors read; those of strings are arrays of bytes objects."""

    request: InferRequest
    tensors: dict[str, Array]


_decoder = msgspec.json.Decoder(InferRequest)


def read(body: bytes, header_length: str | None) -> Asked:
    """Read a request.

    Raises:
        Invalid: not JSON of the protocol's shape, or a tensor's data are not what it says.
    """
    size = len(body)
    if header_length is not None:
        sound = header_length.isdecimal() and len(header_length) <= _MAX_DIGITS
        if not sound or int(header_length) > len(body):
            raise Invalid(
                f"Inference-Header-Content-Length {header_length[:40]}, expected 0 to {len(body)}"
            )
        size = int(header_length)
    try:
        request = _decoder.decode(memoryview(body)[:size])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Invalid(f"inference request: {err}") from err
    if not request.inputs:
        raise Invalid("the request has no inputs")
    _refuse_extensions(request.inputs)
    _refuse_extensions(request.outputs)
    rest = memoryview(body)[size:]
    tensors: dict[str, Array] = {}
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise Invalid(f'input "{tensor.name}" is given twice')
        binary = tensor.parameters.get("binary_data_size")
        if len(tensor.shape) > MAX_RANK:
            raise Invalid(f'input "{tensor.name}" has {len(tensor.shape)} dimensions')
        if max(tensor.shape, default=0) > MAX_SIDE:
            # Beside a side of 0 it has no elements, and still is nothing that numpy can hold.
            raise Invalid(
                f'input "{tensor.name}" has a side of {str(max(tensor.shape))[:40]}, expected'
                f" at most {MAX_SIDE}"
            )
        if binary is None:
            tensors[tensor.name] = _from_json(tensor)
            continue
        if type(binary) is not int or not 0 <= binary <= len(rest):
            raise Invalid(
                f'input "{tensor.name}": binary_data_size {binary!r}, expected 0 to {len(rest)}'
            )
        if tensor.data is not None:
            raise Invalid(f'input "{tensor.name}" has both data and binary_data_size')
        tensors[tensor.name] = _from_bytes(tensor, rest[:binary])
        rest = rest[binary:]
    if rest:
        raise Invalid(f"{len(rest)} bytes follow the last binary tensor")
    return Asked(request, tensors)


def _refuse_extensions(told: Sequence[InputTensor | OutputRequest]) -> None:
    for tensor in told:
        for extension in _EXTENSIONS & tensor.parameters.keys():
            raise Invalid(f'tensor "{tensor.name[:80]}": the extension {extension} is not offered')


def _dtype(tensor: InputTensor) -> np.dtype[Any]:
    if tensor.datatype not in DATATYPES:
        raise Invalid(
            f'input "{tensor.name}" has the datatype "{tensor.datatype[:40]}", expected one of'
            f" {', '.join(DATATYPES)}, BYTES"
        )
    return np.dtype(DATATYPES[tensor.datatype])


def _from_bytes(tensor: InputTensor, raw: memoryview) -> Array:
    if tensor.datatype == "BYTES":
        return _shaped(tensor, _read_strings(tensor, raw))
    dtype = _dtype(tensor)
    expected = prod(tensor.shape) * dtype.itemsize
    if len(raw) != expected:
        raise Invalid(
            f'input "{tensor.name}" of {tensor.datatype} {tensor.shape} has {len(raw)} bytes,'
            f" expected {expected}"
        )
    found: Array = np.frombuffer(raw, dtype).reshape(tensor.shape)
    return _checked(tensor, found)


def _read_strings(tensor: InputTensor, raw: memoryview) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(raw):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(raw, at)[0] if start <= len(raw) else len(raw) + 1
        if end > len(raw):
            raise Invalid(f'input "{tensor.name}": string {len(found)} ends beyond its data')
        found.append(bytes(raw[start:end]))
        at = end
    return found


def _from_json(tensor: InputTensor) -> Array:
    if tensor.data is None:
        raise Invalid(f'input "{tensor.name}" has no data')
    if tensor.datatype == "BYTES":
        flat = _flat(tensor.data)
        if not all(isinstance(item, str) for item in flat):
            raise Invalid(f'input "{tensor.name}" of BYTES holds something other than strings')
        return _shaped(tensor, [item.encode() for item in flat])
    dtype = _dtype(tensor)
    # Before numpy looks: it makes every string as long as the longest of them.
    if str in set(map(type, _flat(tensor.data))):
        raise Invalid(
            f'input "{tensor.name}" of {tensor.datatype} holds a string, expected'
            f" {tensor.datatype}"
        )
    try:
        given = np.asarray(tensor.data)
        if dtype == np.uint64 and given.dtype.kind in ("f", "O"):
            # numpy takes numbers on both sides of 2**63 for floats, and loses their last digits.
            given = _whole(np.asarray(tensor.data, object))
    except ValueError as err:
        raise Invalid(f'input "{tensor.name}": its rows differ in length') from err
    allowed = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if given.size and given.dtype.kind not in allowed:
        raise Invalid(
            f'input "{tensor.name}" of {tensor.datatype} holds {given.dtype}, expected'
            f" {tensor.datatype}"
        )
    if dtype.kind in "iu" and given.size:
        info = np.iinfo(dtype)
        if int(given.min()) < info.min or int(given.max()) > info.max:
            raise Invalid(
                f'input "{tensor.name}" of {tensor.datatype} holds a number out of range,'
                f" expected {info.min} to {info.max}"
            )
    if given.size != prod(tensor.shape):
        raise _wrong_count(tensor, given.size)
    if given.ndim not in (1, len(tensor.shape)):
        raise Invalid(
            f'input "{tensor.name}" of shape {tensor.shape} is nested {given.ndim} deep, expected'
            f" 1 or {len(tensor.shape)}"
        )
    with np.errstate(over="ignore"):  # infinite then, which is refused
        return _checked(tensor, given.astype(dtype).reshape(tensor.shape))


def _whole(given: Array) -> Array:
    """Give integers as they are, where they all are and fit 64 bits; else what came."""
    whole = all(type(item) is int and 0 <= item < 1 << 64 for item in given.reshape(-1))
    return given.astype(np.uint64) if whole else given


def _flat(data: Sequence[Any]) -> list[Any]:
    """Undo nesting, as deep as a tensor can be: what is left of lists is no number or string."""
    found = list(data)
    for _ in range(MAX_RANK - 1):
        if list not in set(map(type, found)):
            break
        found = [x for item in found for x in (item if isinstance(item, list) else [item])]
    return found


def _shaped(tensor: InputTensor, items: list[bytes]) -> Array:
    if len(items) != prod(tensor.shape):
        raise _wrong_count(tensor, len(items))
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(tensor.shape)


def _checked(tensor: InputTensor, found: Array) -> Array:
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise Invalid(f'input "{tensor.name}" holds NaN or infinity, expected finite numbers')
    return found


def _wrong_count(tensor: InputTensor, count: int) -> Invalid:
    return Invalid(
        f'input "{tensor.name}" of shape {tensor.shape} has {count} elements, expected'
        f" {prod(tensor.shape)}"
    )


class Written(NamedTuple):
    """An answer as it goes out."""

    payload: bytes
    header_length: int
    """Of the JSON; 0: all of it."""


def write(
    asked: InferRequest, outputs: Mapping[str, Array], *, model: str, version: str
) -> Written:
    """Encode an answer, the outputs that were asked for in their order, or all.

    Raises:
        Invalid: the model gives no such output.
        Failed: a number is not finite, which JSON cannot say.
    """
    wanted = asked.outputs or [OutputRequest(name=name) for name in outputs]
    by_default = bool(asked.parameters.get("binary_data_output"))
    told: list[OutputTensor] = []
    parts: list[bytes] = []
    for output in wanted:
        if output.name not in outputs:
            raise Invalid(
                f'model "{model}" gives no output "{output.name[:80]}", expected one of'
                f" {', '.join(outputs)}"
            )
        value = outputs[output.name]
        strings = value.dtype.kind == "O"
        datatype = "BYTES" if strings else _NAMES.get(value.dtype.newbyteorder("<"))
        if datatype is None:
            raise Failed(f'output "{output.name}" of {value.dtype} has no datatype here')
        shape = list(value.shape)
        if output.parameters.get("binary_data", by_default):
            raw = _raw(value, strings)
            parts.append(raw)
            size = {"binary_data_size": len(raw)}
            told.append(
                OutputTensor(name=output.name, datatype=datatype, shape=shape, parameters=size)
            )
            continue
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise Failed(f'output "{output.name}" holds NaN or infinity; ask for it as binary')
        flat = value.reshape(-1).tolist()
        data = [item.decode("utf-8", "replace") for item in flat] if strings else flat
        told.append(OutputTensor(name=output.name, datatype=datatype, shape=shape, data=data))
    reply = InferReply(model_name=model, model_version=version, outputs=told, id=asked.id)
    head = msgspec.json.encode(reply)
    return Written(head + b"".join(parts), len(head) if parts else 0)


def _raw(value: Array, strings: bool) -> bytes:
    if not strings:
        return np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    return b"".join(_LENGTH.pack(len(item)) + item for item in value.reshape(-1).tolist())
