"""Whisper's encoder and decoder over one window; refuses to know of files and of other windows.

Source: `whisper/decoding.py` of openai-whisper (`DecodingTask`): greedy at temperature 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Array, FloatArray, Session
from stackctl_daemon.inference.adapters.mel import log_mel
from stackctl_daemon.inference.adapters.transcription_rules import Rules, Vocabulary

_LOOP_TOKENS, _LONGEST_TURN = 64, 16


class Decoded(NamedTuple):
    """What the model made of a window."""

    tokens: list[int]
    """Text and timestamps, without the end."""
    mean_log: float
    """Mean logarithm of the tokens' probabilities."""
    silence: float
    """Probability that nobody speaks."""
    ended: bool
    """The model came to an end by itself."""
    looping: bool = False
    """It was stopped in the midst of repeating itself."""


class Decoder:
    """Both graphs of a model."""

    def __init__(self, encoder: Session, decoder: Session, vocabulary: Vocabulary) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._vocabulary = vocabulary
        self._rules = Rules(vocabulary)
        bands, frames = encoder.inputs["mel"][1][1:]
        if not isinstance(bands, int) or not isinstance(frames, int):
            raise Failed(f"the encoder takes {bands} bands of {frames} frames, expected numbers")
        self.bands, self.frames = bands, frames
        self._past: dict[str, FloatArray] = {}
        for name, (_, shape) in decoder.inputs.items():
            if name.startswith("past_"):
                sizes = [side if isinstance(side, int) else 0 for side in shape]
                self._past[name] = np.zeros((1, sizes[1], 0, sizes[3]), np.float32)
        if not self._past:
            raise Failed("the decoder takes no past_key_0, expected keys and values of the past")

    def listen(self, samples: FloatArray) -> Mapping[str, Array]:
        """Give what the decoder needs of a window of 16 kHz samples."""
        mel = log_mel(samples, bands=self.bands, frames=self.frames)[None]
        return dict(zip(self._encoder.outputs, self._encoder.run(None, {"mel": mel}), strict=True))

    def say(
        self,
        heard: Mapping[str, Array],
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Decoded:
        """Give a window's tokens, to the end or until they go round in circles.

        Args:
            heard: of `listen`.
            prompt: tokens that end with the start of a transcript.
            max_tokens: after which the window is given up as it is.
            temperature: 0 takes the likeliest token, above it is drawn.
            seed: of the drawing.

        Raises:
            Failed: the model gave numbers that are not finite.
        """
        known = self._vocabulary
        chance = np.random.default_rng(seed)
        said: list[int] = []
        total, silence = 0.0, 0.0
        past: Mapping[str, Array] = self._past
        ids = list(prompt)
        while len(said) < max_tokens:
            logits, past = self._step(ids, heard, past)
            if not said:
                silence = float(_softmax(logits)[known.silent])
            logs = self._rules.allow(logits, said)
            if temperature:  # the largest of logs / temperature + Gumbel noise is a draw
                token = int((logs / temperature + chance.gumbel(size=len(logs))).argmax())
            else:
                token = int(logs.argmax())
            total += float(logs[token])
            if token == known.end:
                return Decoded(said, total / (len(said) + 1), silence, True)
            said.append(token)
            if len(said) % _LONGEST_TURN == 0 and going_round(said):
                return Decoded(said, total / (len(said) + 1), silence, False, True)
            ids = [token]
        return Decoded(said, total / (len(said) + 1), silence, False)

    def begin(self, heard: Mapping[str, Array]) -> FloatArray:
        """Give the probability of each token at the very start, before any prompt has its say."""
        logits, _ = self._step([self._vocabulary.start], heard, self._past)
        return _softmax(logits)

    def _step(
        self, ids: Sequence[int], heard: Mapping[str, Array], past: Mapping[str, Array]
    ) -> tuple[FloatArray, dict[str, Array]]:
        feed = {"input_ids": np.array([ids], np.int64), **heard, **past}
        found = dict(zip(self._decoder.outputs, self._decoder.run(None, feed), strict=True))
        logits: FloatArray = found.pop("logits")[0]
        if not np.isfinite(logits).all():
            raise Failed("the decoder gave numbers that are not finite")
        return logits, {name.replace("present", "past"): value for name, value in found.items()}


def going_round(said: Sequence[int]) -> bool:
    """Tell whether the last 64 tokens are at most 16 that come again and again."""
    tail = list(said[-_LOOP_TOKENS:])
    if len(tail) < _LOOP_TOKENS:
        return False
    return any(tail[size:] == tail[:-size] for size in range(1, _LONGEST_TURN + 1))


def _softmax(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max())
    shares: FloatArray = raised / raised.sum()
    return shares
