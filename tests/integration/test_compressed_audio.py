"""What people record, through every way in, against the same words from WAV."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from harness import Stack
from inference_stack import CACHE, Sink, with_service
from media_files import FORMS, Form, encode
from sounds import wav

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.audio import RATE, decode
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model

SAID = "Ever tried, ever failed. No matter, try again. Fail again. Fail better."
FRAME_S = 0.032
"""Of the voice activity detector."""


@pytest.fixture(scope="module")
def recordings(clip: bytes) -> dict[str, bytes]:
    return {name: encode(decode(clip), form) for name, form in FORMS.items()}


def test_every_format_says_the_same_words_at_the_same_time(
    audio_store: ModelService, clip: bytes, recordings: dict[str, bytes]
) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        inputs = [Input(data=data) for data in [clip, *recordings.values()]]
        heard = await service.run(inputs, model="whisper-tiny.en")
        spoken = await service.run(inputs, model="silero-vad")

        texts = [result.value["text"] for result in heard.results]
        assert dict(zip(["clip.wav", *recordings], texts, strict=True)) == dict.fromkeys(
            ["clip.wav", *recordings], SAID
        )
        expected, *found = (_edges(result.value) for result in spoken.results)
        for name, edges in zip(recordings, found, strict=True):
            assert len(edges) == len(expected), name
            np.testing.assert_allclose(edges, expected, atol=FRAME_S + 1e-3, err_msg=name)

    with_service(audio_store, body)


def _edges(value: Any) -> list[float]:
    return [at for segment in value["segments"] for at in (segment["start_s"], segment["end_s"])]


def test_bad_files_are_refused_and_the_worker_goes_on(
    audio_store: ModelService, recordings: dict[str, bytes]
) -> None:
    flac = Form("flac", "flac", RATE, "s16")
    bad = {
        "MP3 file is cut short": recordings["clip.mp3"][:50_000],
        "the Ogg file of 60000 bytes is cut short": recordings["opus.ogg"][:60_000],
        "MP4 file has no sound, only video": encode(None, FORMS["clip.mp4"], video="libx264"),
        "begin with 23 45 58 54": b"#EXTM3U\nhttp://127.0.0.1/x.ts\n",
        "begin with 64 65 61 72": b"dear diary",
        "MP3 file is damaged": b"ID3" + bytes(5_000),
        "FLAC file": encode(np.zeros(0), flac),
    }

    async def body(service: InferenceService, sink: Sink) -> None:
        for message, data in bad.items():
            with pytest.raises(Invalid, match=message):
                await service.run([Input(data=data)], model="silero-vad")
        noise = np.random.default_rng(0).normal(0, 0.01, (8, 192_000))
        wide = encode(noise, Form("flac", "flac", 192_000, "s16", "7.1"), rate=192_000)
        hour = encode(np.zeros(3_600 * RATE, np.float32), flac)
        done = await service.run([Input(data=wide), Input(data=hour)], model="silero-vad")

        assert [result.value["duration_s"] for result in done.results] == [1.0, 3_600.0]
        assert [result.value["segments"] for result in done.results] == [[], []]
        assert service.live()["cpu:0"]["worker_restarts"] == 0

    with_service(audio_store, body)


@pytest.fixture(scope="module")
def stack(audio_store: ModelService) -> Iterator[Stack]:
    """A stack with both models, and the port of the API."""
    env = {"STACKCTL_API__LISTEN": "127.0.0.1:0"}
    running = Stack(model=False, env=env)
    for name in ("whisper-tiny.en", "silero-vad"):
        shutil.copytree(CACHE / "models" / name, running.home / "data" / "models" / name)
    with running:
        yield running


def test_the_command_line_hears_every_format(stack: Stack, recordings: dict[str, bytes]) -> None:
    files = []
    for name in ("clip.mp3", "clip.m4a", "opus.ogg"):
        files.append(stack.home / name)
        files[-1].write_bytes(recordings[name])

    done = stack.cli("models", "run", "whisper", *map(str, files), "--json")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(SAID) == 3


def test_the_command_line_says_what_is_wrong_with_a_file(stack: Stack) -> None:
    file = stack.home / "notes.mp3"
    file.write_text("not a sound")

    done = stack.cli("models", "run", "whisper", str(file))

    assert done.returncode == 2
    assert "the sound is 11 bytes that begin with 6e 6f 74 20" in done.stderr
    assert f"fix: ffmpeg -i {file} -ar 16000" in done.stderr


def test_openais_client_sends_what_it_has(stack: Stack, recordings: dict[str, bytes]) -> None:
    url = stack.ok("GET", "/v1/status")["api_url"]
    token = (stack.home / "state" / "api-token").read_text().strip()
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        for name in ("clip.webm", "clip.mp4", "clip.mpga"):
            told = client.audio.transcriptions.create(
                model="whisper-1", file=(name, recordings[name])
            )
            assert told.text == SAID
        with (
            pytest.warns(DeprecationWarning),  # of the client's, whose method it is all the same
            pytest.raises(openai.BadRequestError, match='does not "translate"'),
        ):
            client.audio.translations.create(
                model="whisper-1", file=("clip.webm", recordings["clip.webm"])
            )
        with pytest.raises(openai.BadRequestError, match="MP3 file is cut short"):
            client.audio.transcriptions.create(
                model="whisper-1", file=("cut.mp3", recordings["clip.mp3"][:30_000])
            )


def test_the_run_route_takes_it_in_base64(stack: Stack, recordings: dict[str, bytes]) -> None:
    data = base64.b64encode(recordings["clip.flac"]).decode()

    reply = stack.ok("POST", "/v1/models/whisper/run", {"inputs": [{"data": data}]})

    assert SAID in json.dumps(reply)


def test_a_whole_video_is_heard(audio_store: ModelService, clip: bytes, tmp_path: Path) -> None:
    video = encode(decode(clip), FORMS["clip.mp4"], video="libx264")

    async def body(service: InferenceService, sink: Sink) -> None:
        ask = Ask(options={"temperature": 0})
        done = await service.run([Input(data=video)], model="whisper", ask=ask)
        quiet = await service.run([Input(data=wav(np.zeros(99)))], model="whisper")

        assert done.results[0].value["text"] == SAID
        assert quiet.results[0].value["text"] == ""

    with_service(audio_store, body)
