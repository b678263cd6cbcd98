"""Sound files to 16 kHz mono; refuses to know what is said in them.

WAV is read here: the standard library's `wave` knows neither floats nor the extensible header,
and FFmpeg, which reads all else (`compressed_audio`), takes 40 ms and 17 MB to be there.
Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF, WAVE),
mmreg.h for the tags; Smith, "Digital Audio Resampling" (Kaiser-windowed sinc, polyphase).
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.base import FloatArray

RATE = 16_000
"""Samples a second of what models here listen to."""
MAX_SECONDS = 7_200

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_KINDS = {
    (_PCM, 8): "|u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "|u1",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}
_READS = "PCM of 8, 16, 24 or 32 bits or float of 32 or 64 in a WAV file"
_ALSO = "FLAC, MP3, MP4, M4A, AAC, Ogg, WebM, MPEG or AIFF"
_RATES, _CHANNELS = (4_000, 384_000), (1, 32)
# Writers that cannot seek back leave the length of the data open.
_OPEN_ENDED = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000)
_BLOCK = 1 << 20
_LOUDEST = 1e6
"""Of floats; integers written as floats reach 2**15. Squares of far more are infinite."""
# Zeros of the sinc on each side, and the shape of its Kaiser window.
_ZEROS, _BETA = 64, 9.0
_FIX = "ffmpeg -i INPUT -ar 16000 -ac 1 -c:a pcm_s16le OUTPUT.wav"


class _Format(NamedTuple):
    kind: int
    bits: int
    channels: int
    rate: int


def decode(data: bytes) -> FloatArray:
    """Give a sound as 16 kHz mono: float32 ``(samples,)``, full scale 1.

    Channels are averaged. At most `MAX_SECONDS`.

    Raises:
        Invalid: not a file of a kind that we read, cut short, empty, too long, or it has samples
            that are not finite.
    """
    if data[:4] != b"RIFF":
        return _other(data)
    found, start, length = _parse(data)
    width = found.channels * found.bits // 8
    frames = length // width
    if not frames:
        raise _invalid("the sound has no samples, expected at least one")
    seconds = frames / found.rate
    if seconds > MAX_SECONDS:
        raise _invalid(f"the sound lasts {seconds:.0f} s, expected at most {MAX_SECONDS}")
    mono = np.empty(frames, np.float32)
    for first in range(0, frames, _BLOCK):
        count = min(_BLOCK, frames - first)
        raw = memoryview(data)[start + first * width : start + (first + count) * width]
        mono[first : first + count] = _mix(raw, found, first)
    return resample(mono, found.rate, RATE)


def resample(samples: FloatArray, source: int, target: int) -> FloatArray:
    """Change the rate of samples; ``ceil(count * target / source)`` float32.

    A tone below 0.9 of the lower rate's half keeps its values to 1e-4 of full scale away from the
    ends, and one above that half falls below -80 dB.
    """
    if source == target:
        return samples
    step = math.gcd(source, target)
    up, down = target // step, source // step
    half = math.ceil(_ZEROS * max(1.0, down / up))
    count = -(-len(samples) * up // down)
    padded = np.pad(samples, (half, half + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    out = np.empty(count, np.float32)
    rows = max(1, (1 << 22) // (2 * half + 1))
    for first in range(min(up, count)):
        # Every `up`-th output has the same phase, and inputs `down` apart.
        base, phase = divmod(first * down, up)
        taps = _filter(phase / up, half, min(1.0, up / down))
        total = len(range(first, count, up))
        for done in range(0, total, rows):
            many = min(rows, total - done)
            begin = base + done * down
            chosen = windows[begin : begin + (many - 1) * down + 1 : down]
            at = first + done * up
            out[at : at + (many - 1) * up + 1 : up] = chosen @ taps
    return out


def _filter(shift: float, half: int, ratio: float) -> FloatArray:
    """Give the weights of ``2 * half + 1`` inputs for an output ``shift`` after the middle one."""
    # Cut in the middle of what a Kaiser window of this length needs to fall 90 dB.
    cut = ratio * (1.0 - 5.7 / (2 * _ZEROS))
    offsets = np.arange(-half, half + 1) - shift
    inside = np.clip(1.0 - (offsets / (half + 1)) ** 2, 0.0, None)
    taps = np.sinc(cut * offsets) * np.i0(_BETA * np.sqrt(inside))
    found: FloatArray = (taps / taps.sum()).astype(np.float32)
    return found


def _other(data: bytes) -> FloatArray:
    try:
        # Deferred: whoever only reads WAV does without FFmpeg.
        from stackctl_daemon.inference.adapters.compressed_audio import decode_compressed, kind_of
    except ImportError as err:  # a small image may leave it out
        raise Invalid(
            f"the sound is {_begins(data)}, and all but WAV needs the package av: {err}",
            hint=f"{sys.executable} -m pip install av",
        ) from err

    if not kind_of(data):
        raise _invalid(f"the sound is {_begins(data)}, expected {_READS}, or {_ALSO}")
    try:
        return decode_compressed(data, rate=RATE, max_seconds=MAX_SECONDS)
    except Invalid as err:
        raise _invalid(err.message) from err


def _begins(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:4].hex(' ') or 'nothing'}"


def _parse(data: bytes) -> tuple[_Format, int, int]:
    """Find the format and the place of the samples."""
    if data[8:12] != b"WAVE":
        raise _invalid(f"the sound is {_begins(data)}, expected {_READS}")
    found: _Format | None = None
    for name, start, size in _chunks(data):
        if name == b"fmt ":
            found = _format(data[start : start + size])
        elif name == b"data":
            if found is None:
                raise _invalid("the WAV file has data before its format, expected the reverse")
            have = len(data) - start
            if size > have and size not in _OPEN_ENDED:
                raise _invalid(f"the WAV file ends after {have} of {size} bytes of samples")
            return found, start, min(size, have)
    raise _invalid(f"the WAV file of {len(data)} bytes has no {'data' if found else 'format'}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def _format(chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise _invalid(f"the WAV file has a format of {len(chunk)} bytes, expected 16 at least")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        [kind] = struct.unpack_from("<H", chunk, 24)
    if (kind, bits) not in _KINDS:
        raise _invalid(
            f"the WAV file has samples of tag {kind} with {bits} bits, expected {_READS}"
        )
    for value, (low, high), what in (
        (rate, _RATES, "samples a second"),
        (channels, _CHANNELS, "channels"),
    ):
        if not low <= value <= high:
            raise _invalid(f"the WAV file has {value} {what}, expected {low} to {high}")
    return _Format(kind, bits, channels, rate)


def _mix(raw: memoryview, found: _Format, first: int) -> FloatArray:
    """Give the mean of the channels of a block."""
    values: npt.NDArray[np.floating]
    stored = np.frombuffer(raw, _KINDS[found.kind, found.bits])
    if found.bits == 24:
        wide = np.zeros((len(stored) // 3, 4), np.uint8)
        wide[:, 1:] = stored.reshape(-1, 3)
        values = wide.view("<i4")[:, 0] * np.float32(2.0**-31)
    elif found.kind == _FLOAT:
        values = stored.astype(np.float32)
        bad = np.flatnonzero(~(np.abs(values) <= _LOUDEST))  # so NaN is found too
        if bad.size:
            at = first + int(bad[0]) // found.channels
            raise _invalid(
                f"sample {at} of the sound is {values[bad[0]]}, expected a number, of full scale 1"
            )
    elif found.bits == 8:
        values = (stored.astype(np.float32) - 128) * np.float32(2.0**-7)
    else:
        values = stored.astype(np.float32) * np.float32(2.0 ** (1 - found.bits))
    mixed: FloatArray = values.reshape(-1, found.channels).mean(axis=1, dtype=np.float32)
    return mixed


def _invalid(message: str) -> Invalid:
    return Invalid(message, hint=_FIX)
