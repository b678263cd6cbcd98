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
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.base import FloatArray

RATE = 16_000
"""Samples a second of what models here listen to."""
MAX_SECONDS = 7_200
MAX_VALUES = 2 * 96_000 * MAX_SECONDS
"""Samples of all channels in the file: what decoding costs goes by them, not by seconds alone."""

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
_BLOCK = 1 << 18
"""Samples of one channel that are worked on at once."""
_MOST_TAPS = 1 << 22
"""Weights of the filter that are kept: 16 MiB. Only odd rates need more."""
_LOUDEST = 1e6
"""Of floats; integers written as floats reach 2**15. Squares of far more are infinite."""
# Zeros of the sinc on each side, and the shape of its Kaiser window.
_ZEROS, _BETA = 64, 9.0
_FIX = "ffmpeg -i INPUT -ar 16000 -ac 1 -c:a pcm_s16le OUTPUT.wav"


_Read = Callable[[int, int], FloatArray]
"""Gives so many samples of one channel from a place on."""


class _Format(NamedTuple):
    kind: int
    bits: int
    channels: int
    rate: int


def decode(data: bytes) -> FloatArray:
    """Give a sound as 16 kHz mono: float32 ``(samples,)``, full scale 1.

    Channels are averaged. At most `MAX_SECONDS`, and `MAX_VALUES`.

    Raises:
        Invalid: not a file of a kind that we read, cut short, empty, too long, or it has samples
            that are not finite.
    """
    for found in decoding(data):
        if found is not None:
            return found
    raise AssertionError("decoding ends with a sound")


def decoding(data: bytes) -> Iterator[FloatArray | None]:
    """Decode in steps of about a millisecond: None after each, and last the sound.

    Takes little more memory than the file and the result. Raises as `decode`.
    """
    if data[:4] != b"RIFF":
        yield from _other(data)
        return
    found, start, length = _parse(data)
    width = found.channels * found.bits // 8
    frames = length // width
    if not frames:
        raise _invalid("the sound has no samples, expected at least one")
    check_work(frames, found.rate, found.channels)

    def read(first: int, count: int) -> FloatArray:
        raw = memoryview(data)[start + first * width : start + (first + count) * width]
        return _mix(raw, found, first)

    yield from _resampled(read, frames, found.rate, RATE)


def check_work(frames: float, rate: int, channels: int) -> None:
    """Refuse a sound that takes too much to decode.

    Args:
        frames: samples of one channel in the file.
        rate: of them a second.
        channels: how many there are.

    Raises:
        Invalid: it is longer than `MAX_SECONDS`, or has more than `MAX_VALUES`.
    """
    seconds = frames / rate
    if seconds > MAX_SECONDS:
        raise _invalid(f"the sound lasts {seconds:.0f} s or more, expected at most {MAX_SECONDS}")
    if frames * channels > MAX_VALUES:
        raise _invalid(
            f"the sound has {frames * channels:,.0f} samples or more, {seconds:.0f} s of"
            f" {channels} channels at {rate} a second, expected at most {MAX_VALUES:,}, which are"
            " two hours of stereo at 96,000"
        )


def resample(samples: FloatArray, source: int, target: int) -> FloatArray:
    """Change the rate of samples; ``ceil(count * target / source)`` float32.

    A tone below 0.9 of the lower rate's half keeps its values to 1e-4 of full scale away from the
    ends, and one above that half falls below -80 dB.
    """

    def read(first: int, count: int) -> FloatArray:
        return samples[first : first + count]

    for found in _resampled(read, len(samples), source, target):
        if found is not None:
            return found
    raise AssertionError("resampling ends with a sound")


def _resampled(read: _Read, frames: int, source: int, target: int) -> Iterator[FloatArray | None]:
    """Change the rate, block by block: None after each step, and last the samples."""
    step = math.gcd(source, target)
    up, down = target // step, source // step
    out = np.empty(-(-frames * up // down), np.float32)
    half = math.ceil(_ZEROS * max(1.0, down / up)) if source != target else 0
    ratio = min(1.0, up / down)
    # The weights of each phase are kept where they are few, and else made once a larger block.
    keep = up * (2 * half + 1) <= _MOST_TAPS
    kept: dict[int, FloatArray] = {}
    most = (_BLOCK if keep else 64 * _BLOCK) // max(up, down)
    size = up * max(1, min(most, _MOST_TAPS // (2 * half + 1)))
    for first in range(0, len(out), size):
        count = min(size, len(out) - first)
        begin = first // up * down  # a block begins at phase 0
        block = _around(read, begin - half, (count - 1) * down // up + 2 * half + 1, frames)
        yield None
        if source == target:
            out[first : first + count] = block
            continue
        windows = np.lib.stride_tricks.sliding_window_view(block, 2 * half + 1)
        for number in range(min(up, count)):
            # Every `up`-th output has the same phase, and inputs `down` apart.
            base, phase = divmod(number * down, up)
            taps = kept[number] if number in kept else _filter(phase / up, half, ratio)
            if keep:
                kept[number] = taps
            many = len(range(number, count, up))
            chosen = windows[base : base + (many - 1) * down + 1 : down]
            out[first + number : first + count : up] = chosen @ taps
            yield None
    yield out


def _around(read: _Read, first: int, count: int, frames: int) -> FloatArray:
    """Give samples from ``first`` on, which may lie before the sound: silence around it."""
    found = np.zeros(count, np.float32)
    for begin in range(max(first, 0), min(first + count, frames), _BLOCK):
        end = min(begin + _BLOCK, first + count, frames)
        found[begin - first : end - first] = read(begin, end - begin)
    return found


def _filter(shift: float, half: int, ratio: float) -> FloatArray:
    """Give the weights of ``2 * half + 1`` inputs for an output ``shift`` after the middle one."""
    # Cut in the middle of what a Kaiser window of this length needs to fall 90 dB.
    cut = ratio * (1.0 - 5.7 / (2 * _ZEROS))
    offsets = np.arange(-half, half + 1) - shift
    inside = np.clip(1.0 - (offsets / (half + 1)) ** 2, 0.0, None)
    taps = np.sinc(cut * offsets) * np.i0(_BETA * np.sqrt(inside))
    found: FloatArray = (taps / taps.sum()).astype(np.float32)
    return found


def _other(data: bytes) -> Iterator[FloatArray | None]:
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
        yield from decode_compressed(data, rate=RATE, check=check_work)
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
