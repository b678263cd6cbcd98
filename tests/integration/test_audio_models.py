"""Real models that listen, to a real clip, through real workers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from inference_stack import Sink, with_service
from sounds import wav

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.audio import RATE, decode
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService
from stackctl_daemon.models.whisper_graph import DECODER_FILE

pytestmark = pytest.mark.model

SAID = "Ever tried, ever failed. No matter, try again. Fail again. Fail better."


def test_a_clip_is_written_down_word_for_word(audio_store: ModelService, clip: bytes) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.run([Input(data=clip)], model="whisper-1")

        value = done.results[0].value
        assert value["text"] == SAID
        assert value["language"] == "en"
        assert value["duration_s"] == pytest.approx(9.963, abs=1e-3)
        assert " ".join(segment["text"] for segment in value["segments"]) == SAID
        edges = [
            t for segment in value["segments"] for t in (segment["start_s"], segment["end_s"])
        ]
        assert edges == sorted(edges)
        assert edges[-1] <= value["duration_s"]

    with_service(audio_store, body)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_and_channels_say_the_same(
    audio_store: ModelService, clip: bytes, rate: int
) -> None:
    """Telephone quality keeps the words; above it, every sign."""
    samples = decode(clip)
    at = np.arange(int(len(samples) * rate / RATE)) * RATE / rate
    other = np.interp(at, np.arange(len(samples)), samples)
    data = wav(np.stack([other, other], axis=1), rate=rate, kind="s3")

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.run([Input(data=data)], model="whisper-tiny.en")

        assert words(done.results[0].value["text"]) == words(SAID)

    with_service(audio_store, body)


def words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").split()


def test_a_long_sound_is_streamed_window_by_window(audio_store: ModelService, clip: bytes) -> None:
    samples = decode(clip)
    data = wav(np.tile(samples, 7))

    async def body(service: InferenceService, sink: Sink) -> None:
        pieces = [piece async for piece in service.stream(Input(data=data), model="whisper")]
        whole = await service.run([Input(data=data)], model="whisper")

        done = pieces.pop()
        assert isinstance(done, Done)
        value = done.results[0].value
        assert words(value["text"]) == words(SAID) * 7
        assert "".join(piece["text"] for piece in pieces).strip() == value["text"]
        assert [s for piece in pieces for s in piece["segments"]] == value["segments"]
        positions = [piece["position_s"] for piece in pieces]
        assert positions == sorted(positions)
        assert len(positions) >= 3
        assert whole.results[0].value == value

    with_service(audio_store, body)


def test_nothing_is_written_down_where_nobody_speaks(audio_store: ModelService) -> None:
    random = np.random.default_rng(0)
    sounds = {
        "silence": np.zeros(35 * RATE),
        "noise": random.normal(0, 0.1, 12 * RATE),
        "a whisper of noise": random.normal(0, 0.001, 12 * RATE),
        "a tone": 0.3 * np.sin(np.arange(5 * RATE) * 0.2),
        "a sample": np.zeros(1),
    }

    async def body(service: InferenceService, sink: Sink) -> None:
        inputs = [Input(data=wav(sound)) for sound in sounds.values()]
        done = await service.run(inputs, model="whisper-tiny.en")
        spoken = await service.run(inputs, model="vad")

        texts = [result.value["text"] for result in done.results]
        assert dict(zip(sounds, texts, strict=True)) == dict.fromkeys(sounds, "")
        assert [result.value["segments"] for result in spoken.results] == [[]] * len(sounds)

    with_service(audio_store, body)


def test_a_prompt_sets_the_style(audio_store: ModelService, clip: bytes) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        ask = Ask(options={"prompt": "samuel beckett, worstward ho, " * 200, "temperature": 0})
        done = await service.run([Input(data=clip)], model="whisper-tiny.en", ask=ask)

        assert words(done.results[0].value["text"]) == words(SAID)

    with_service(audio_store, body)


def test_speech_is_found_as_a_direct_loop_finds_it(audio_store: ModelService, clip: bytes) -> None:
    """Probabilities of the graph called window by window, as `OnnxWrapper` of silero-vad does."""
    ready = asyncio.run(audio_store.ready("silero-vad"))
    session: Any = onnxruntime.InferenceSession(str(ready.graph))
    samples = decode(clip)
    state = [np.zeros((1, 1, 128), np.float32)] * 2
    expected = []
    for at in range(0, len(samples), 512):
        window = np.zeros(576, np.float32)
        part = samples[max(0, at - 64) : at + 512]
        offset = 64 if at == 0 else 0
        window[offset : offset + len(part)] = part
        feed = {"input": window[None], "h": state[0], "c": state[1]}
        probability, *state = session.run(None, feed)
        expected.append(float(probability[0]))

    async def body(service: InferenceService, sink: Sink) -> None:
        ask = Ask(options={"probabilities": True})
        done = await service.run([Input(data=clip)], model="silero-vad", ask=ask)

        result = done.results[0]
        assert result.tensors is not None
        np.testing.assert_allclose(result.tensors["probabilities"], expected, atol=1e-5)
        # `get_speech_timestamps` of silero-vad 6.2.3 on the same clip, in samples.
        starts = [round(s["start_s"] * 16_000, -1) for s in result.value["segments"]]
        assert starts == [5150, 29730, 55840, 77860, 106020, 130080]
        assert result.value["speech_ratio"] == pytest.approx(0.5018, abs=1e-3)

    with_service(audio_store, body)


BAD: list[tuple[bytes, dict[str, Any], str]] = [
    (b"no sound at all", {}, "the sound is 15 bytes that begin with 6e 6f 20 73"),
    (wav(np.zeros(RATE))[:-9], {}, "ends after 31991 of 32000 bytes"),
    (wav(np.zeros(RATE)), {"language": "de"}, 'knows no language "de", expected "en"'),
    (wav(np.zeros(RATE)), {"task": "translate"}, 'does not "translate"'),
    (wav(np.zeros(RATE)), {"tempo": 1}, 'no option "tempo"'),
    (wav(np.zeros(RATE)), {"prompt": 3}, 'option "prompt" is 3, expected a text'),
    (wav(np.zeros(RATE)), {"max_tokens": 0}, 'option "max_tokens" is 0'),
]


def test_bad_input_is_refused_and_the_worker_goes_on(audio_store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        for data, options, message in BAD:
            for blobs in ([data], [wav(np.zeros(99)), data]):
                inputs = [Input(data=blob) for blob in blobs]
                with pytest.raises(Invalid, match=message):
                    await service.run(inputs, model="whisper", ask=Ask(options=options))
        with pytest.raises(Invalid, match="reads sound files"):
            await service.run([Input(text="x")], model="whisper")

        assert service.live()["cpu:0"]["worker_restarts"] == 0

    with_service(audio_store, body)


def test_a_damaged_graph_of_a_real_model_is_made_anew(audio_store: ModelService) -> None:
    ready = asyncio.run(audio_store.ready("whisper-tiny.en"))
    graph = Path(ready.directory) / DECODER_FILE
    good = graph.read_bytes()
    graph.write_bytes(good[:100])

    told = asyncio.run(audio_store.verify("whisper-tiny.en"))
    asyncio.run(audio_store.ready("whisper-tiny.en"))

    assert not told.ok
    assert DECODER_FILE in told.problems[0]
    assert graph.read_bytes() == good
