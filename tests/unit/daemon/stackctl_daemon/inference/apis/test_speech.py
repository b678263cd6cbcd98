from __future__ import annotations

import pytest

from stackctl_daemon.inference.apis import speech
from stackctl_daemon.inference.apis.openai import BadField

VALUE = {
    "text": " One. Two & <b>.",
    "segments": [
        {"start_s": 0.0, "end_s": 1.5, "text": " One."},
        {"start_s": 3661.0004, "end_s": 3662.9996, "text": " Two & <b>\n--> end."},
    ],
}


def test_subrip_numbers_its_blocks_and_writes_a_comma() -> None:
    assert speech.srt(VALUE) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n"
        "2\n01:01:01,000 --> 01:01:03,000\nTwo & <b> -> end.\n"
    )


def test_webvtt_escapes_and_keeps_arrows_out_of_cues() -> None:
    assert speech.vtt(VALUE) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n"
        "01:01:01.000 --> 01:01:03.000\nTwo &amp; &lt;b> -> end.\n"
    )


def test_a_text_without_segments_is_one_cue_and_silence_is_none() -> None:
    assert "00:00:00,000 --> 00:00:02,000\nhi\n" in speech.srt({"text": "hi", "duration_s": 2.0})
    assert speech.vtt({"text": "", "segments": []}) == "WEBVTT\n"


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "1e999", "warm", ""])
def test_a_temperature_that_is_no_finite_number_is_refused(given: str) -> None:
    with pytest.raises(BadField) as caught:
        speech._number("temperature", given)

    assert caught.value.param == "temperature"
