"""WAV files for the tests of what listens."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def wav(
    samples: Any,  # Any: whatever numpy makes an array of
    *,
    rate: int = 16_000,
    kind: str = "<i2",
    tag: int | None = None,
    extensible: bool = False,
    claimed: int | None = None,
) -> bytes:
    """Write ``(frames,)`` or ``(frames, channels)`` of full scale 1 as a WAV file.

    Args:
        samples: the sound.
        rate: samples a second.
        kind: numpy's type of a sample, or ``s3`` for 24 bits.
        tag: of the format; None: that of ``kind``.
        extensible: write the tag in an extensible format.
        claimed: bytes of data that the file says it has; None: those that it has.
    """
    frames = np.atleast_2d(np.asarray(samples, np.float64).T).T
    data, bits = _encode(frames, kind)
    tag = tag if tag is not None else 3 if kind[1] == "f" else 1
    width = frames.shape[1] * bits // 8
    outer = 0xFFFE if extensible else tag
    fields = struct.pack("<HHIIHH", outer, frames.shape[1], rate, rate * width, width, bits)
    if extensible:
        fields += struct.pack("<HHIH", 22, bits, 0, tag) + bytes(14)
    size = len(data) if claimed is None else claimed
    body = b"WAVEfmt " + struct.pack("<I", len(fields)) + fields
    body += b"LIST\x03\0\0\0abc\0" + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


def _encode(frames: Any, kind: str) -> tuple[bytes, int]:
    if kind[1] == "f":
        return frames.astype(kind).tobytes(), 8 * np.dtype(kind).itemsize
    bits = 24 if kind == "s3" else 8 * np.dtype(kind).itemsize
    top = 2 ** (bits - 1)
    whole = np.clip(np.round(frames * top), -top, top - 1).astype(np.int64)
    if kind == "s3":
        return whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 24
    return (whole + (128 if kind == "|u1" else 0)).astype(kind).tobytes(), bits
