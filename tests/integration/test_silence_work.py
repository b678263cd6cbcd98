"""What Whisper does where nobody speaks, counted in steps of the real decoder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import wav

from stackctl_daemon.inference.adapters.audio import RATE
from stackctl_daemon.inference.adapters.base import Array, Input, ModelSpec, Session
from stackctl_daemon.inference.adapters.transcription import Transcription
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model

SAID = "Ever tried, ever failed. No matter, try again. Fail again. Fail better."
MOST_STEPS = 2 * 224 + 224 + 1
"""Of a window: what is decoded in all, the attempt that reaches it, and the look for silence."""
_AT = np.arange(30 * RATE)
QUIET = {
    "silence": np.zeros(30 * RATE),
    "noise": np.random.default_rng(0).normal(0, 0.1, 30 * RATE),
    "a whisper of noise": np.random.default_rng(1).normal(0, 0.001, 30 * RATE),
    "a tone": 0.3 * np.sin(_AT * 0.2),
    "a hum": 0.05 * np.sin(_AT * 2 * np.pi * 50 / RATE),
}
# Of each the model made 224 tokens at up to six temperatures before.
LOOPING = ("word " * 300, "a b c d e f g h " * 60, "1 2 3 4 5 6 7 8 9 10 " * 20)
PROMPTS = ("", "Hello, this is a talk about Samuel Beckett.", *LOOPING)


class Counted:
    """A session that counts its runs."""

    def __init__(self, session: Session) -> None:
        self.session, self.runs = session, 0
        self.execution_provider = session.execution_provider
        self.inputs, self.outputs = session.inputs, session.outputs
        self.metadata = session.metadata

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, Array]) -> list[Array]:
        self.runs += 1
        return self.session.run(outputs, feed)


Heard = Callable[[bytes, str], tuple[str, int]]


@pytest.fixture(scope="module")
def hear(audio_store: ModelService) -> Heard:
    """Gives the text of a sound and the steps of the decoder that it took."""
    ready = asyncio.run(audio_store.ready("whisper-tiny.en"))
    policy, opened = DevicePolicy("cpu"), []

    def open_session(graph: Path, **options: Any) -> Counted:
        opened.append(Counted(policy.open(graph, **options)))
        return opened[-1]

    spec = ModelSpec("whisper", ready.directory, ready.graph, ready.tokenizer)
    model = Transcription(spec, open_session)
    _, decoder = opened

    def hear(sound: bytes, prompt: str) -> tuple[str, int]:
        before = decoder.runs
        units = model.prepare([Input(data=sound)], {"prompt": prompt})
        [result] = model.compute(units)
        return result.value["text"], decoder.runs - before

    return hear


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda text: text[:8].strip() or "none")
@pytest.mark.parametrize("what", QUIET)
def test_where_nobody_speaks_little_is_decoded_and_nothing_written(
    hear: Heard, what: str, prompt: str
) -> None:
    text, steps = hear(wav(QUIET[what]), prompt)

    assert text == ""
    assert steps <= (100 if prompt in LOOPING else 70)


@pytest.mark.parametrize("prompt", LOOPING, ids=lambda text: text[:8].strip())
def test_a_prompt_that_loops_costs_no_word_of_what_is_said(
    hear: Heard, clip: bytes, prompt: str
) -> None:
    text, steps = hear(clip, prompt)

    assert text == SAID
    assert steps < 130


def test_no_prompt_has_a_window_decoded_for_ever(hear: Heard) -> None:
    """Babble: the model is never sure of it, so that every attempt fails."""
    random = np.random.default_rng(2)
    babble = np.repeat(random.normal(0, 0.2, 30 * RATE // 40), 40) * (np.sin(_AT * 0.001) > 0)

    for prompt in ("", "x" * 2_000, "%$& {} [] " * 60):
        _, steps = hear(wav(babble), prompt)

        assert 0 < steps <= 2 * MOST_STEPS  # the window may end early, and another follow
