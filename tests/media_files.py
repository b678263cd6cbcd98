"""Compressed sounds and videos for the tests of what listens, encoded by FFmpeg's libraries."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np


class Form(NamedTuple):
    """How a sound is written down."""

    container: str
    codec: str
    rate: int
    samples: str
    layout: str = "mono"
    first_at: int | None = None
    """Time stamp of the first sample; with 0, MP4 gets the edit list that skips the encoder's
    padding."""


FORMS: Mapping[str, Form] = {
    "clip.flac": Form("flac", "flac", 16_000, "s16"),
    "clip.mp3": Form("mp3", "libmp3lame", 44_100, "fltp"),
    "stereo.mp3": Form("mp3", "libmp3lame", 48_000, "fltp", "stereo"),
    "clip.mpga": Form("mp2", "mp2", 44_100, "s16"),
    "clip.mpeg": Form("mpeg", "mp2", 44_100, "s16"),
    "clip.m4a": Form("ipod", "aac", 44_100, "fltp", first_at=0),
    "clip.mp4": Form("mp4", "aac", 48_000, "fltp", first_at=0),
    "clip.aac": Form("adts", "aac", 44_100, "fltp"),
    "opus.ogg": Form("ogg", "libopus", 48_000, "flt"),
    "vorbis.ogg": Form("ogg", "vorbis", 44_100, "fltp", "stereo", first_at=0),
    "clip.webm": Form("webm", "libopus", 48_000, "flt"),
    "clip.aiff": Form("aiff", "pcm_s16be", 16_000, "s16"),
}


def encode(samples: Any, form: Form, *, rate: int = 16_000, video: str = "") -> bytes:
    """Write ``(channels, frames)`` or ``(frames,)`` of full scale 1.

    Args:
        samples: the sound; None: a file without any.
        form: how.
        rate: samples a second of ``samples``.
        video: codec of a second of pictures beside it; "" for none.
    """
    written = io.BytesIO()
    with av.open(written, "w", format=form.container) as container:
        pictures: Any = container.add_stream(video, rate=25) if video else None
        sound: Any = None
        if samples is not None:
            options = {"strict": "experimental"} if form.codec == "vorbis" else {}
            sound = container.add_stream(
                form.codec, rate=form.rate, layout=form.layout, format=form.samples,
                options=options,
            )  # fmt: skip
            if not form.codec.startswith(("pcm", "flac", "vorbis")):
                sound.bit_rate = 128_000
        if pictures is not None:
            _draw(container, pictures)
        if sound is not None:
            planes = np.atleast_2d(np.asarray(samples, np.float32))
            if form.layout == "stereo" and len(planes) == 1:
                planes = np.repeat(planes, 2, axis=0)
            packed = np.ascontiguousarray(planes.T).reshape(1, -1)
            layout = form.layout if len(planes) > 1 else "mono"
            frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
            frame.sample_rate = rate
            frame.pts, frame.time_base = form.first_at, Fraction(1, rate)
            for given in (frame, None) if planes.size else (None,):
                for packet in sound.encode(given):
                    container.mux(packet)
    return written.getvalue()


def _draw(container: Any, stream: Any) -> None:
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(25):
        picture = av.VideoFrame.from_ndarray(
            np.full((48, 64, 3), 10 * number, np.uint8), format="rgb24"
        )
        for packet in stream.encode(picture):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)
