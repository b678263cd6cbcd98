from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import wav

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.audio import MAX_SECONDS, RATE, decode, decoding, resample


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("|u1", 5e-3), ("<i2", 2e-5), ("s3", 1e-7), ("<i4", 1e-7), ("<f4", 1e-7), ("<f8", 1e-7)],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_every_width_gives_the_same_sound(kind: str, tolerance: float, extensible: bool) -> None:
    sound = tone(440, RATE)

    found = decode(wav(sound, kind=kind, extensible=extensible))

    assert (found.dtype.str, len(found)) == ("<f4", RATE)
    np.testing.assert_allclose(found, sound, atol=tolerance)


def test_channels_are_averaged() -> None:
    both = np.stack([tone(440, RATE), tone(880, RATE), np.zeros(RATE)], axis=1)

    np.testing.assert_allclose(decode(wav(both)), both.mean(axis=1), atol=5e-5)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_345, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_values_at_any_rate(rate: int) -> None:
    """Up to 0.9 of the lower rate's half, away from the ends."""
    for hertz in (50.0, 1_000.0, 0.45 * min(rate, RATE)):
        found = decode(wav(tone(hertz, rate), rate=rate, kind="<f4"))

        assert len(found) == RATE
        inner = slice(RATE // 8, -RATE // 8)
        np.testing.assert_allclose(found[inner], tone(hertz, RATE)[inner], atol=1e-4)


@pytest.mark.parametrize("hertz", [8_200.0, 12_000.0, 20_000.0])
def test_a_tone_above_half_the_rate_is_gone(hertz: float) -> None:
    found = decode(wav(tone(hertz, 44_100), rate=44_100, kind="<f4"))

    assert np.abs(found[RATE // 8 : -RATE // 8]).max() < 0.5 * 10 ** (-80 / 20)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(4_000, 50_000))
def test_no_length_and_no_rate_is_too_odd(count: int, rate: int) -> None:
    found = resample(np.ones(count, np.float32), rate, RATE)

    assert len(found) == math.ceil(count * RATE / rate)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("rate", [RATE, 44_100, 48_000, 44_101])
def test_blocks_leave_no_seam(rate: int) -> None:
    """Longer than many blocks; at the last rate the weights of the filter are not kept."""
    sound = tone(440.0, rate, 20.0)

    *steps, found = decoding(wav(sound, rate=rate, kind="<f4"))

    assert found is not None
    inner = slice(RATE // 8, -RATE // 8)
    np.testing.assert_allclose(found[inner], tone(440.0, RATE, 20.0)[inner], atol=1e-4)
    assert len(steps) > 1


def test_a_stream_of_unknown_length_is_read_to_its_end() -> None:
    assert len(decode(wav(tone(440, RATE), claimed=0xFFFFFFFF))) == RATE


SOUND = tone(440, RATE)
HOLED = np.where(np.arange(RATE) == 77, np.nan, SOUND)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes that begin with nothing"),
        (b"hello, this is no sound", "23 bytes that begin with 68 65 6c 6c"),
        (wav(SOUND)[:40], "no data"),
        (wav(SOUND)[:14], "no format"),
        (wav(SOUND)[:-1000], "ends after 31000 of 32000 bytes"),
        (wav([]), "no samples"),
        (wav(HOLED, kind="<f4"), "sample 77 of the sound is nan"),
        (wav(np.full(RATE, 3e38), kind="<f4"), "sample 0 of the sound is 3.0"),
        (wav(SOUND, tag=6), "tag 6"),
        (wav(SOUND, rate=100), "100 samples a second, expected 4000 to 384000"),
        (wav(np.zeros((10, 33))), "33 channels"),
        (wav(np.zeros(4_000 * (MAX_SECONDS + 1)), rate=4_000, kind="|u1"), "lasts 7201 s"),
    ],
)
def test_what_is_no_sound_is_refused_with_what_it_is(data: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        decode(data)

    assert caught.value.hint.startswith("ffmpeg -i ")


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 90))
def test_damage_is_refused_or_read_but_never_raises_otherwise(noise: bytes, at: int) -> None:
    good = wav(SOUND[:200])
    damaged = good[:at] + noise + good[at + len(noise) :]
    try:
        found = decode(damaged)
    except Invalid:
        return

    assert np.isfinite(found).all()


def test_without_ffmpeg_compressed_sound_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "stackctl_daemon.inference.adapters.compressed_audio"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(Invalid, match="all but WAV needs the package av") as caught:
        decode(b"fLaC" + bytes(40))

    assert caught.value.hint.endswith("pip install av")
