"""Header of a CTranslate2 ``model.bin``; refuses to read the weights themselves.

Source: `ctranslate2/specs/model_spec.py` of CTranslate2 (`ModelSpec._serialize`), binary versions
4 to 6. Little-endian throughout: version u32, name of the spec, revision u32, number of variables
u32; of each its name, rank u8, sizes u32, type u8, bytes u32, and then the bytes; at the end
u32 pairs of names (aliases, of weights that are tied). A string is its length u16, zero included.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stackctl.errors import Invalid
from stackctl_daemon.models.safetensors import TensorSlice

_VERSIONS = range(4, 7)
_DTYPES = ("F32", "I8", "I16", "I32", "F16", "BF16")
_WIDTHS = {"F32": 4, "I8": 1, "I16": 2, "I32": 4, "F16": 2, "BF16": 2}
_MAX_VARIABLES, _MAX_RANK = 100_000, 8


class CTranslate2File(NamedTuple):
    """What a file says of itself."""

    spec: str
    """Class of the converter: ``WhisperSpec``."""
    tensors: dict[str, TensorSlice]
    """By name, aliases included."""
    numbers: dict[str, int]
    """Values of the integers of rank 0, such as ``decoder/num_heads``."""


def read_ctranslate2(file: Path) -> CTranslate2File:
    """Give every variable's place by name.

    Raises:
        Invalid: the file is not CTranslate2's, is of a version that we do not know, or is cut
            short.
    """
    try:
        with file.open("rb") as stream:
            return _read(stream, file.stat().st_size)
    except (ValueError, struct.error, UnicodeDecodeError) as err:
        raise Invalid(f"{file} is not a sound CTranslate2 file: {err}") from err


def _read(stream: BinaryIO, size: int) -> CTranslate2File:
    [version] = _take(stream, "I")
    if version not in _VERSIONS:
        raise ValueError(f"binary version {version}, expected {_VERSIONS[0]} to {_VERSIONS[-1]}")
    spec = _string(stream)
    _, count = _take(stream, "II")  # revision of the spec, number of variables
    if count > _MAX_VARIABLES:
        raise ValueError(f"{count} variables, expected at most {_MAX_VARIABLES}")
    tensors: dict[str, TensorSlice] = {}
    numbers: dict[str, int] = {}
    for _ in range(count):
        name = _string(stream)
        found = tensors[name] = _variable(stream, name, size)
        if not found.shape and found.dtype in ("I8", "I16", "I32"):
            numbers[name] = int.from_bytes(stream.read(found.length), "little", signed=True)
        else:
            stream.seek(found.offset + found.length)
    [aliases] = _take(stream, "I")
    for _ in range(min(aliases, count)):
        alias, name = _string(stream), _string(stream)
        if name not in tensors:
            raise ValueError(f"{alias} stands for {name}, which is not there")
        for part in ("", "_scale"):  # a packed weight is nothing without its scale
            if name + part in tensors:
                tensors[alias + part] = tensors[name + part]
    return CTranslate2File(spec, tensors, numbers)


def _variable(stream: BinaryIO, name: str, size: int) -> TensorSlice:
    [rank] = _take(stream, "B")
    if rank > _MAX_RANK:
        raise ValueError(f"{name} has rank {rank}")
    shape = _take(stream, "I" * rank)
    kind, length = _take(stream, "BI")
    if kind >= len(_DTYPES):
        raise ValueError(f"{name} has the type {kind}, expected 0 to {len(_DTYPES) - 1}")
    expected = _WIDTHS[_DTYPES[kind]]
    for side in shape:
        expected *= side
    offset = stream.tell()
    if length != expected or offset + length > size:
        raise ValueError(
            f"{name} of {_DTYPES[kind]} {list(shape)} has {length} bytes from {offset} on in a"
            f" file of {size}, expected {expected}"
        )
    return TensorSlice(_DTYPES[kind], shape, offset, length)


def _take(stream: BinaryIO, kinds: str) -> tuple[int, ...]:
    form = struct.Struct("<" + kinds)
    return form.unpack(stream.read(form.size))


def _string(stream: BinaryIO) -> str:
    [length] = _take(stream, "H")
    data = stream.read(length)
    if len(data) != length or not data.endswith(b"\0"):
        raise ValueError(f"no name of {length} bytes at {stream.tell() - len(data)}")
    return data[:-1].decode()
