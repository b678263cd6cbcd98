from __future__ import annotations

import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import FORMS, Form, encode
from sounds import wav

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters import compressed_audio
from stackctl_daemon.inference.adapters.audio import (
    MAX_SECONDS,
    RATE,
    check_work,
    decode,
    decoding,
)
from stackctl_daemon.inference.adapters.compressed_audio import decode_compressed, kind_of

LOSSLESS = ("clip.flac", "clip.aiff")
# Of an encoder that says nowhere what it put in front: two frames of MP2 or AAC.
UNTOLD = ("clip.mpga", "clip.mpeg", "clip.aac")
# Formats that say how long they are; an MPEG stream without a Xing header only ends.
TOLD = tuple(name for name in FORMS if name not in ("clip.mpga", "clip.mpeg"))


def chirp(seconds: float = 2.0) -> np.ndarray:
    at = np.arange(int(RATE * seconds)) / RATE
    return 0.4 * np.sin(2 * np.pi * (200 + 150 * (at % 2)) * at) * (at % 0.5 < 0.35)


@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_sound_in_its_place(name: str) -> None:
    sound = chirp()

    found = decode(encode(sound, FORMS[name]))

    assert found.dtype == np.float32
    at = int(np.correlate(found[4_000:10_000], sound[4_000:8_000]).argmax())
    assert 0 <= at <= (512 if name in UNTOLD else 0)
    assert 0 <= len(found) - at - len(sound) < 1_152
    placed = found[at : at + len(sound)]
    # Half a sample beside its place, 800 Hz agrees with itself to 0.988.
    assert np.corrcoef(placed, sound)[0, 1] > 0.98
    # LAME takes 0.45 dB off.
    assert np.std(placed) == pytest.approx(np.std(sound), rel=0.06)
    if name in LOSSLESS:
        np.testing.assert_allclose(placed, sound, atol=1e-4)


@pytest.mark.parametrize("layout", ["stereo", "3.0", "5.1", "7.1"])
def test_channels_are_averaged_as_those_of_wav(layout: str) -> None:
    channels = {"stereo": 2, "3.0": 3, "5.1": 6, "7.1": 8}[layout]
    planes = np.random.default_rng(0).normal(0, 0.1, (channels, RATE)).clip(-1, 1)

    found = decode(encode(planes, Form("flac", "flac", RATE, "s16", layout)))

    np.testing.assert_allclose(found, decode(wav(planes.T)), atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_a_tone_keeps_its_values_at_any_rate(rate: int) -> None:
    for hertz in (50.0, 1_000.0, 0.45 * min(rate, RATE)):
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)
        found = decode(encode(tone, Form("flac", "flac", rate, "s32"), rate=rate))

        inner = slice(RATE // 8, -RATE // 8)
        expected = 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        np.testing.assert_allclose(found[:RATE][inner], expected[inner], atol=1e-4)


@pytest.mark.parametrize("hertz", [8_200.0, 12_000.0, 20_000.0])
def test_a_tone_above_half_the_rate_is_gone(hertz: float) -> None:
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(44_100) / 44_100)

    found = decode(encode(tone, Form("flac", "flac", 44_100, "s32"), rate=44_100))

    assert np.abs(found[RATE // 8 : -RATE // 8]).max() < 0.5 * 10 ** (-80 / 20)


@pytest.mark.parametrize("part", [0.001, 0.01, 0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("name", TOLD)
def test_a_file_that_is_cut_short_is_refused(name: str, part: float) -> None:
    data = encode(chirp(10), FORMS[name])

    with pytest.raises(Invalid, match=r"cut short|no samples") as found:
        decode(data[: int(len(data) * part)])

    assert "ffmpeg -i" in str(found.value.hint)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("mpeg", "mpeg1video")]
)
def test_a_video_without_sound_is_told_so(container: str, codec: str) -> None:
    data = encode(None, Form(container, "", 0, ""), video=codec)

    with pytest.raises(Invalid, match="has no sound, only video"):
        decode(data)


def test_of_a_video_the_sound_is_heard_and_no_picture_is_decoded() -> None:
    data = encode(chirp(), FORMS["clip.mp4"], video="libx264")

    found = decode(data)

    assert len(found) == pytest.approx(2 * RATE, abs=1_152)


BAD: dict[str, tuple[bytes, str]] = {
    "a text": (b"dear diary, " * 99, "begin with 64 65 61 72"),
    "a playlist": (b"#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1:1/x\n", "begin with 23 45 58 54"),
    "a list of files": (b"ffconcat version 1.0\nfile /etc/passwd\n", "begin with 66 66 63 6f"),
    "nothing": (b"", "begin with nothing"),
    "MP3 in name": (b"ID3\x04" + bytes(2_000), "MP3 file is damaged or cut short in its headers"),
    "Ogg in name": (b"OggS" + bytes(2_000), "Ogg file is damaged or cut short"),
    "MP4 in name": (b"\0\0\0\x18ftypisom" + bytes(2_000), "MP4 file"),
    "FLAC in name": (b"fLaC" + b"\xff" * 2_000, "FLAC file"),
    "WebM in name": (b"\x1aE\xdf\xa3" + bytes(2_000), "Matroska or WebM file"),
    "no samples": (encode(np.zeros(0), FORMS["clip.flac"]), "FLAC file"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_sound_is_refused_with_its_reason(what: str) -> None:
    data, message = BAD[what]

    with pytest.raises(Invalid, match=message):
        decode(data)


def test_a_codec_that_is_not_ours_is_named() -> None:
    data = encode(chirp(), Form("matroska", "ac3", 48_000, "fltp"))

    with pytest.raises(Invalid, match="is in ac3, expected one of AAC"):
        decode(data)


def test_a_sound_longer_than_the_limit_ends_at_the_limit() -> None:
    """Two hours and a minute of silence are 1.2 MB of FLAC, and would be 464 MB of samples."""
    data = encode(np.zeros(60 * RATE, np.float32), Form("mp2", "mp2", RATE, "s16"))

    def check(frames: float, rate: int, channels: int) -> None:
        assert (rate, channels) == (RATE, 1)
        if frames > 30 * rate:
            raise Invalid(f"ended at {frames}")

    with pytest.raises(Invalid, match=r"ended at 48\d{4}$"):
        list(decode_compressed(data, rate=RATE, check=check))
    assert MAX_SECONDS == 7_200


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (7_201 * 48_000, "lasts 7201 s or more, expected at most 7200"),
        (2**36 - 1, "lasts 1431656 s"),
    ],
)
def test_what_a_header_declares_beyond_the_limit_is_not_decoded(frames: int, message: str) -> None:
    sound = encode(np.zeros((2, 480), np.float32), STEREO, rate=48_000)

    with pytest.raises(Invalid, match=message):
        decode(declaring(sound, frames))


def test_rate_and_channels_count_for_the_limit() -> None:
    """Four minutes of silence in 8 channels at 384,000 are 0.1 MB, and 740 million samples."""
    form = Form("flac", "flac", 384_000, "s16", "7.1")
    sound = encode(np.zeros((8, 4_800), np.float32), form, rate=384_000)

    with pytest.raises(Invalid, match="cut short"):  # it was decoded
        decode(declaring(sound, 440 * 384_000))
    with pytest.raises(Invalid, match=r"1,536,000,000 samples .*500 s of 8 channels at 384"):
        decode(declaring(sound, 500 * 384_000))
    with pytest.raises(Invalid, match="cut short"):  # two hours of stereo at 96,000
        check_work(7_200 * 96_000, 96_000, 2)
        decode(declaring(encode(np.zeros((2, 960)), STEREO, rate=48_000), 7_200 * 48_000))


STEREO = Form("flac", "flac", 48_000, "s16", "stereo")


def declaring(flac: bytes, frames: int) -> bytes:
    """Give a FLAC file with another length in its header: 36 bits from the 22nd byte's middle."""
    [packed] = struct.unpack_from(">Q", flac, 18)
    changed = packed >> 36 << 36 | frames
    return flac[:18] + struct.pack(">Q", changed) + flac[26:]


def test_decoding_gives_way_all_the_time() -> None:
    data = encode(np.zeros(10 * RATE, np.float32), FORMS["clip.flac"])

    *steps, found = decoding(data)

    assert found is not None
    assert len(found) == 10 * RATE
    assert len(steps) > 100
    assert not any(step is not None for step in steps)


PEAK = """
import sys
from stackctl_daemon.inference.adapters.audio import decode

def memory(of):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(of)) * 1024

data = open(sys.argv[1], "rb").read()
decode(open(sys.argv[2], "rb").read())
before = memory("VmRSS")
found = decode(data)
print((memory("VmHWM") - before) / found.nbytes)
"""


@pytest.mark.parametrize("declared", [True, False])
def test_a_long_sound_takes_little_more_than_its_samples(tmp_path: Path, declared: bool) -> None:
    form = FORMS["clip.flac"] if declared else Form("mp2", "mp2", RATE, "s16")
    for name, seconds in (("long", 1_200), ("short", 1)):
        (tmp_path / name).write_bytes(encode(np.zeros(seconds * RATE, np.float32), form))

    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "long", tmp_path / "short"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert float(done.stdout) < 1.5


def test_too_many_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed_audio, "MAX_FRAMES", 10)

    with pytest.raises(Invalid, match="more than 10 frames"):
        decode(encode(chirp(), FORMS["clip.mp3"]))


def test_a_reference_to_another_file_is_not_followed(tmp_path: Any) -> None:
    """The samples of a track of MP4 may lie in a file that its data reference names."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(encode(chirp(), FORMS["clip.m4a"]))
    data = encode(chirp(), FORMS["clip.m4a"])
    at = data.index(b"url \0\0\0\1")
    path = str(secret).encode() + b"\0"
    entry = struct.pack(">I", 12 + len(path)) + b"url \0\0\0\0" + path
    outside = _grown(
        data, at - 4, 12, entry, (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov")
    )

    try:
        found = decode(outside)
    except Invalid:
        return
    np.testing.assert_array_equal(found, decode(data))


def _grown(data: bytes, at: int, size: int, entry: bytes, around: tuple[bytes, ...]) -> bytes:
    changed = bytearray(data)
    for name in around:
        start = data.rindex(name, 0, at) - 4
        [old] = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", changed, start, old + len(entry) - size)
    return bytes(changed[:at]) + entry + bytes(changed[at + size :])


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_damage_ends_in_a_sound_or_a_reason(name: str, data: st.DataObject) -> None:
    good = encode(chirp(0.5), FORMS[name])
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 20))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = decode(bytes(bad))
    except Invalid:
        return

    assert found.ndim == 1
    assert len(found) <= MAX_SECONDS * RATE
    assert np.isfinite(found).all()


def test_an_hour_of_silence_takes_little_memory() -> None:
    hour = encode(np.zeros(3_600 * RATE, np.float32), Form("flac", "flac", RATE, "s16"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    found = decode(hour)

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(found) == 3_600 * RATE
    assert grown_kib < 2.5 * found.nbytes / 1_024


def test_whoever_reads_wav_loads_no_library_of_ffmpeg() -> None:
    program = (
        "import sys\n"
        "from stackctl_daemon.inference.adapters.audio import decode\n"
        "from stackctl.errors import Invalid\n"
        "try: decode(b'RIFF----WAVE')\n"
        "except Invalid: pass\n"
        "print('av' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", FORMS)
def test_the_first_bytes_tell_the_format(name: str) -> None:
    expected = {
        "clip.mpga": "mp3",
        "stereo.mp3": "mp3",
        "clip.m4a": "mp4",
        "clip.webm": "matroska",
    }
    kind = expected.get(name) or name.rpartition(".")[2]

    assert kind_of(encode(chirp(0.2), FORMS[name])) == kind
