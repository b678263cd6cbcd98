from __future__ import annotations

import pytest

from stackctl.errors import Invalid
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


def form(*fields: tuple[str, str]) -> speech.Form:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    return speech.Form("multipart/form-data; boundary=b", f"{parts}--b--\r\n".encode())


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word")],
        [("timestamp_granularities[]", "segment"), ("timestamp_granularities[]", "word")],
        [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
        [("include[]", "logprobs")],
    ],
)
def test_what_would_be_left_out_in_silence_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadField, match="times of segments alone") as caught:
        speech._check_asked(form(*fields))

    assert caught.value.param == fields[0][0]


def test_times_of_segments_may_be_asked_for() -> None:
    speech._check_asked(form(("timestamp_granularities[]", "segment"), ("file", "x")))


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("the MP3 file is cut short: 1.00 of 2.00 s are there", "file"),
        ('model "m" knows no language "xx", expected en', "language"),
        ('option "temperature" is 9.0, expected a number, 0 to 1', "temperature"),
        ('model "m" does not "translate", expected transcribe: it is of one language', "model"),
    ],
)
def test_a_refusal_names_the_field_that_it_is_about(message: str, param: str) -> None:
    given = {"language": "xx", "temperature": 9.0, "task": "translate"}

    found = speech._placed(Invalid(message, hint="stackctl models list"), given)

    assert isinstance(found, BadField)
    assert (found.param, found.message, found.hint) == (param, message, "stackctl models list")
