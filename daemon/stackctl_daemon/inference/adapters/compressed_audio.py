"""Compressed sounds to 16 kHz mono by FFmpeg's libraries; refuses to open anything but the bytes.

The bytes come from strangers, so little of FFmpeg is reached: the demuxer is the one that the
first bytes call for, never probed; no protocol and no second file is opened; of the decoders only
those of `_CODECS` run, and no video is decoded. What comes out is bounded, whatever a header says.
A file is refused as cut short where its format tells (all but MPEG streams without a Xing header).
Source: FFmpeg 8 (`format_whitelist`, `protocol_whitelist`, `codec_whitelist` of AVFormatContext);
RFC 3533 (Ogg pages), RFC 8794 (EBML sizes), the Xing header of LAME.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.base import FloatArray

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_FRAMES = 3_000_000
"""Of any size: Opus has the shortest, 2.5 ms, and two hours of them are 2,880,000."""
_NAMES = {
    "flac": "FLAC",
    "mp3": "MP3",
    "aac": "AAC",
    "ogg": "Ogg",
    "mp4": "MP4",
    "matroska": "Matroska or WebM",
    "mpeg": "MPEG",
    "aiff": "AIFF",
}
_CODECS = (
    "aac", "alac", "flac", "libopus", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "opus",
    "pcm_f32be", "pcm_f32le", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be",
    "pcm_s32le", "vorbis",
)  # fmt: skip
# As sharp as our own: 0.9 of half the rate within 1e-5, -90 dB above that half.
_RESAMPLING = {"filter_size": "128", "cutoff": "0.95"}
_RATES, _CHANNELS = (4_000, 384_000), (1, 32)
_LOUDEST = 1e6
_LEAST = 1 << 14
"""Samples that there is room for at first, and beyond what is declared."""
_MISSING_S = 0.12
"""What a sound may lack of its declared length: the padding of encoders, two frames of AAC."""


def kind_of(data: bytes) -> str:
    """Give the name of the demuxer that a file's first bytes call for; "" for none of ours."""
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    magic = {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska", b"\0\0\1\xba": "mpeg"}
    if data[:4] in magic:
        return magic[data[:4]]
    if data[:3] == b"ID3":
        return "mp3"
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        # Layer 0 is none of MPEG's: it is ADTS.
        return "mp3" if data[1] & 0x06 else "aac" if data[1] & 0xF0 == 0xF0 else ""
    return ""


def decode_compressed(
    data: bytes, *, rate: int, check: Callable[[float, int, int], None]
) -> Iterator[FloatArray | None]:
    """Give the first sound track as mono: float32 ``(samples,)``, full scale 1.

    It comes last: before it, None for every frame that was decoded.

    Args:
        data: a file that `kind_of` knows.
        rate: samples a second of the result.
        check: refuses too much, by samples of one channel, their rate and how many channels.

    Raises:
        Invalid: it is damaged or cut short, has no sound or none that we decode, or too much.
    """
    kind = kind_of(data)
    name = _NAMES[kind]
    if kind in ("ogg", "matroska") and _is_cut(kind, data):
        raise Invalid(f"the {name} file of {len(data)} bytes is cut short")
    position = [0.0]
    try:
        with av.open(
            io.BytesIO(data),
            "r",
            format=kind,
            container_options={
                "format_whitelist": kind if kind != "mp4" else "mov,mp4,m4a,3gp,3g2,mj2",
                "protocol_whitelist": "none",
                "codec_whitelist": ",".join(_CODECS),
                "enable_drefs": "0",
            },
            metadata_errors="replace",
            io_open=_refuse,
        ) as container:
            stream = _sound(container, name)
            declared = _declared(stream) if _says(kind, data) else 0.0
            if declared and stream.rate and stream.channels:
                check(declared * stream.rate, stream.rate, stream.channels)
            mono = _Mono(round(declared * rate))
            for _ in _join(container, stream, mono, name=name, rate=rate, check=check):
                position[0] = mono.total / rate
                yield None
            found = mono.end()
            if found.size / rate < declared - _MISSING_S:
                raise Invalid(
                    f"the {name} file is cut short: {found.size / rate:.2f} of {declared:.2f} s"
                    " are there"
                )
    except (av.error.FFmpegError, ValueError, OverflowError) as err:
        where = f"after {position[0]:.1f} s" if position[0] else "in its headers"
        raise Invalid(f"the {name} file is damaged or cut short {where}: {_reason(err)}") from err
    yield found


def _refuse(*_: Any) -> Any:  # Any: whatever FFmpeg would open, and would get
    raise PermissionError("a sound is one file")


def _reason(err: Exception) -> str:
    return str(getattr(err, "strerror", None) or err).lower()


def _sound(container: InputContainer, name: str) -> AudioStream:
    """Give the first track of sound."""
    if not container.streams.audio:
        others = ", ".join(sorted({stream.type for stream in container.streams}))
        raise Invalid(
            f"the {name} file has no sound, only {others or 'nothing'}, expected a track of sound"
        )
    stream = container.streams.audio[0]
    # None where FFmpeg has no decoder, whatever its types say.
    codec = getattr(stream.codec_context, "name", "a format that is not known")
    if codec not in _CODECS:
        raise Invalid(
            f"the sound of the {name} file is in {codec}, expected one of AAC, ALAC, FLAC, MP3,"
            " Opus, PCM or Vorbis"
        )
    stream.codec_context.thread_count = 1  # the worker's cores are shared out already
    return stream


class _Mono:
    """Samples as they come, in one array that the kernel lets grow and shrink in place."""

    def __init__(self, expected: int) -> None:
        # What a header declares costs nothing before it is there.
        self._samples = np.empty(max(expected, _LEAST) + _LEAST, np.float32)
        self.total = 0

    def add(self, part: FloatArray) -> None:
        """Take the next ones."""
        end = self.total + len(part)
        if end > len(self._samples):
            self._samples.resize(end + end // 4, refcheck=False)
        self._samples[self.total : end] = part
        self.total = end

    def end(self) -> FloatArray:
        """Give them all."""
        self._samples.resize(self.total, refcheck=False)
        return self._samples


def _join(
    container: InputContainer,
    stream: AudioStream,
    mono: _Mono,
    *,
    name: str,
    rate: int,
    check: Callable[[float, int, int], None],
) -> Iterator[None]:
    """Decode all into ``mono``, frame by frame."""
    resampler = av.AudioResampler("flt", "mono", rate, options=_RESAMPLING)
    for frame in _mono(container, stream, name, check):
        for piece in resampler.resample(frame):
            part: FloatArray = piece.to_ndarray()[0]
            if part.size and not max(part.max(), -part.min()) <= _LOUDEST:  # so NaN is found too
                raise Invalid(f"the {name} file has samples that are no numbers of full scale 1")
            mono.add(part)
        yield None
    if not mono.total:
        said = f" of the {_declared(stream):.2f} s that it declares" if _declared(stream) else ""
        raise Invalid(f"the {name} file has no samples{said}, expected at least one")


def _mono(
    container: InputContainer,
    stream: AudioStream,
    name: str,
    check: Callable[[float, int, int], None],
) -> Iterator[AudioFrame | None]:
    """Give frames of one channel, the mean of all, then None."""
    count = rate = total = 0
    for frame in container.decode(stream):
        count += 1
        if count > MAX_FRAMES:
            raise Invalid(f"the {name} file has more than {MAX_FRAMES} frames")
        channels = frame.layout.nb_channels
        for value, (low, high), what in (
            (frame.sample_rate, _RATES, "samples a second"),
            (channels, _CHANNELS, "channels"),
        ):
            if not low <= value <= high:
                raise Invalid(f"the {name} file has {value} {what}, expected {low} to {high}")
        if rate not in (0, frame.sample_rate):
            raise Invalid(
                f"the {name} file goes from {rate} to {frame.sample_rate} samples a second,"
                " expected one rate"
            )
        rate = frame.sample_rate
        total += frame.samples
        check(total, rate, channels)
        if not frame.samples:
            continue
        mixed = av.AudioFrame.from_ndarray(_mix(frame, channels)[None], "flt", "mono")
        mixed.sample_rate = rate
        yield mixed
    if rate:
        yield None


def _mix(frame: AudioFrame, channels: int) -> FloatArray:
    stored = frame.to_ndarray()
    if not frame.format.is_planar:
        stored = stored.reshape(-1, channels).T
    mixed: FloatArray = stored.mean(axis=0, dtype=np.float32)
    kind, bits = stored.dtype.kind, 8 * stored.dtype.itemsize
    if kind == "u":
        mixed -= np.float32(2.0 ** (bits - 1))
    return mixed if kind == "f" else mixed * np.float32(2.0 ** (1 - bits))


def _says(kind: str, data: bytes) -> bool:
    """Tell whether a file says how long it is; of others FFmpeg guesses."""
    return kind in ("flac", "mp4", "aiff") or (kind == "mp3" and _has_xing(data))


def _declared(stream: AudioStream) -> float:
    """Give the length that FFmpeg knows of or guesses, in seconds; 0: none."""
    if stream.duration is None or stream.time_base is None:
        return 0.0
    return float(stream.duration * stream.time_base)


def _has_xing(data: bytes) -> bool:
    """Tell whether an MP3 file's first frame counts the others."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        size = 0
        for byte in data[6:10]:
            size = size << 7 | byte & 0x7F
        start = 10 + size
    head = data[start : start + 256]
    return b"Xing" in head or b"Info" in head


def _is_cut(kind: str, data: bytes) -> bool:
    """Tell whether the last page, or the one segment, ends beyond the end of the file."""
    if kind == "ogg":
        page = data.rfind(b"OggS")
        header = data[page : page + 27]
        table = data[page + 27 : page + 27 + (header[26] if len(header) == 27 else 0)]
        whole = len(header) == 27 and len(table) == header[26]
        return not whole or page + 27 + len(table) + sum(table) > len(data)
    size, start = _vint(data, 4)
    segment = start + size
    if size < 0 or data[segment : segment + 4] != b"\x18\x53\x80\x67":
        return segment > len(data)
    size, start = _vint(data, segment + 4)
    return size >= 0 and start + size > len(data)


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """Give a size of EBML, -1 where it is left open, and where what it measures begins."""
    first = data[at] if at < len(data) else 0
    if not first:
        return -1, at + 1
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (-1 if value == (1 << 7 * width) - 1 else value), at + width
