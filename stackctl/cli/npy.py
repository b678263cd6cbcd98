"""Arrays in numpy's file format, without numpy (120 ms of CPU); refuses object arrays.

Source: numpy.lib.format, version 1.0 and 2.0: a magic word, the length of a Python literal that
names type, order and shape, that literal, and the bytes.
"""

from __future__ import annotations

import ast
import struct
from typing import Any, NamedTuple

from stackctl.errors import Invalid

_MAGIC = b"\x93NUMPY"
_CODES = {
    "<f4": "f",
    "<f8": "d",
    "<f2": "e",
    "<i8": "q",
    "<i4": "i",
    "<i2": "h",
    "|i1": "b",
    "<u8": "Q",
    "<u4": "I",
    "<u2": "H",
    "|u1": "B",
    "|b1": "?",
}
"""How `struct` reads one number of a type."""


class Array(NamedTuple):
    """An array as it travels."""

    dtype: str
    """As numpy writes it: ``<f4``."""
    shape: list[int]
    data: bytes
    """C order, little-endian."""


def write(array: Array) -> bytes:
    """Give the bytes of a ``.npy`` file."""
    inside = ", ".join(map(str, array.shape)) + ("," if len(array.shape) == 1 else "")
    head = f"{{'descr': '{array.dtype}', 'fortran_order': False, 'shape': ({inside}), }}"
    # The data begins at a multiple of 64.
    pad = -(len(_MAGIC) + 4 + len(head) + 1) % 64
    text = f"{head}{' ' * pad}\n".encode("latin-1")
    return _MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text + array.data


def read(data: bytes, what: str) -> Array:
    """Read a ``.npy`` file.

    Raises:
        Invalid: it is none, is in Fortran's order or big-endian, or holds objects or too little.
    """
    if not data.startswith(_MAGIC) or len(data) < 12:
        raise Invalid(f"{what} is no .npy file: it begins with {data[:6]!r}")
    wide = 2 if data[6] == 1 else 4
    start = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
    try:
        head = ast.literal_eval(data[8 + wide : start].decode("latin-1").strip())
        dtype, shape = str(head["descr"]), [int(size) for size in head["shape"]]
        fortran = bool(head["fortran_order"]) and len(shape) > 1
    except (ValueError, SyntaxError, KeyError, TypeError) as err:
        raise Invalid(f"{what} has a head that is none of numpy's: {err}") from err
    if dtype not in _CODES or fortran:
        raise Invalid(
            f'{what} holds "{dtype}"{" in Fortran order" if fortran else ""}, expected numbers,'
            " little-endian, in C order"
        )
    expected = struct.calcsize(_CODES[dtype])
    for size in shape:
        expected *= size
    if len(data) - start != expected:
        raise Invalid(f"{what} has {len(data) - start} bytes of {shape}, expected {expected}")
    return Array(dtype, shape, data[start:])


def literal(value: Any, dtype: str = "") -> Array:
    """Give nested lists of numbers as an array.

    Args:
        value: a number, or lists of one depth and equal lengths.
        dtype: as numpy writes it; left out, ``<f4`` where a number has a point, else ``<i8``.

    Raises:
        ValueError: it is ragged, holds what is no number, or does not fit the type.
    """
    shape: list[int] = []
    numbers: list[Any] = [value]
    while any(isinstance(number, list) for number in numbers):
        sizes = {len(part) if isinstance(part, list) else -1 for part in numbers}
        if len(sizes) > 1:
            raise ValueError("its rows differ in length")
        shape.append(sizes.pop())
        numbers = [number for part in numbers for number in part]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError("it holds what is no number")
    dtype = dtype or ("<f4" if any(isinstance(n, float) for n in numbers) else "<i8")
    if dtype not in _CODES:
        raise ValueError(f'type "{dtype}" is none of {", ".join(_CODES)}')
    if dtype[1] in "iu":
        for at, number in enumerate(numbers):
            if isinstance(number, float):
                if not number.is_integer():
                    raise ValueError(f"it holds {number:g}, expected whole numbers ({dtype})")
                numbers[at] = int(number)
    try:
        data = struct.pack(f"<{len(numbers)}{_CODES[dtype]}", *numbers)
    except struct.error as err:
        raise ValueError(str(err)) from err
    return Array(dtype, shape, data)


def numbers(array: Array) -> list[Any]:
    """Give an array's numbers, the last axis running fastest.

    Raises:
        KeyError: its type is none that Python unpacks.
    """
    code = _CODES[array.dtype]
    count = len(array.data) // struct.calcsize(code)
    return list(struct.unpack(f"<{count}{code}", array.data))
