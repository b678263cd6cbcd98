"""Header of a safetensors file; refuses to read the tensors themselves.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import NamedTuple

from stackctl.errors import Invalid

_HEADER_LIMIT = 100_000_000  # the format's own


class TensorSlice(NamedTuple):
    """Where a tensor lies in its file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    """From the start of the file, bytes."""
    length: int
    """Bytes."""


def read_header(file: Path) -> dict[str, TensorSlice]:
    """Give every tensor's place by name.

    Raises:
        Invalid: the file is not safetensors, or is cut short.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(_HEADER_LIMIT, size - 8):
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(stream.read(length))
        found = {}
        for name, item in header.items():
            if name == "__metadata__":
                continue
            start, end = item["data_offsets"]
            if not 0 <= start <= end <= size - 8 - length:
                raise ValueError(f"tensor {name} ends beyond the file")
            found[name] = TensorSlice(
                item["dtype"], tuple(item["shape"]), 8 + length + start, end - start
            )
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as err:
        raise Invalid(f"{file} is not a sound safetensors file: {err}") from err
    return found
