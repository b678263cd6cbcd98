"""What Whisper may say next, and what its timestamps mean; refuses to run a model.

Source: `whisper/decoding.py` (`SuppressTokens`, `SuppressBlank`, `ApplyTimestampRules`) and
`whisper/transcribe.py` (the slicing of a window into segments) of openai-whisper.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stackctl_daemon.inference.adapters.base import FloatArray

STEP_S = 0.02
"""Between two timestamps."""
_LATEST_START = 50
"""Timestamps into the window, for the first one: 1 s."""
_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta "
    "no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk "
    "sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb "
    "my bo tl mg as tt haw ln ha ba jw su yue "
)
LANGUAGES = tuple(_CODES.split())
"""Codes, in the order of their tokens (`whisper/tokenizer.py`); the last came with large-v3."""
TASKS = ("transcribe", "translate")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids of what is not text."""

    size: int
    end: int
    start: int
    previous: int
    """Begins what was said before the window."""
    silent: int
    """What the model says first where nobody speaks."""
    times: int
    """The first timestamp; all beyond it are timestamps."""
    languages: Mapping[str, int]
    """Tokens of languages by code; empty where the model is of English alone."""
    tasks: Mapping[str, int]
    """Tokens of ``transcribe`` and ``translate``; empty as above."""
    never: tuple[int, ...]
    """Tokens that are no speech, such as brackets and notes."""
    not_first: tuple[int, ...]


class Rules:
    """Masks of a vocabulary, made once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._known = vocabulary
        self._always = np.zeros(vocabulary.size, np.float32)
        barred = [*vocabulary.never, vocabulary.times - 1, vocabulary.start, vocabulary.silent]
        if vocabulary.languages:
            barred += range(vocabulary.end + 1, vocabulary.times)
        self._always[[i for i in barred if i < vocabulary.size]] = -np.inf

    def allow(self, logits: FloatArray, said: Sequence[int]) -> FloatArray:
        """Give logarithms of the probabilities of the next token, ``-inf`` where barred.

        Args:
            logits: ``(vocabulary,)`` float32.
            said: tokens of this window so far.
        """
        known, times = self._known, self._known.times
        masked = logits + self._always
        timed = [token for token in said if token >= times]
        if not said:
            masked[list(known.not_first)] = -np.inf
            masked[:times] = -np.inf
            masked[times + _LATEST_START + 1 :] = -np.inf
        elif said[-1] >= times:
            # Timestamps come in pairs, but for one before the end and the very first.
            if len(said) < 2 or said[-2] >= times:
                masked[times:] = -np.inf
            else:
                masked[: known.end] = -np.inf
        if timed:
            closing = said[-1] >= times and not (len(said) < 2 or said[-2] >= times)
            masked[times : timed[-1] + (0 if closing else 1)] = -np.inf
        peak = masked.max()
        logs: FloatArray = masked - (peak + np.log(np.exp(masked - peak).sum()))
        stamps = logs[times:]
        highest = stamps.max(initial=-np.inf)
        # Any timestamp is likelier than the likeliest word: it is time for one.
        if np.isfinite(highest):
            total = highest + np.log(np.exp(stamps - highest).sum())
            if total > logs[:times].max():
                logs[:times] = -np.inf
                stamps -= total
        return logs


class Segment(NamedTuple):
    """What was said between two timestamps, in steps of `STEP_S` from the window's start."""

    start: int
    end: int
    tokens: list[int]


def segments(
    said: Sequence[int], vocabulary: Vocabulary, *, length: int
) -> tuple[list[Segment], int]:
    """Cut a window's tokens at their timestamps.

    Args:
        said: tokens of a window, without the end.
        vocabulary: ids.
        length: of the window in steps.

    Returns:
        The segments, and where the next window begins.
    """
    times = vocabulary.times
    is_time = [token >= times for token in said]
    alone_at_end = is_time[-2:] == [False, True]
    cuts = [i for i in range(1, len(said)) if is_time[i] and is_time[i - 1]]
    if not cuts:
        stamps = [token - times for token in said if token > times]
        words = [token for token in said if token < vocabulary.end]
        first = said[0] - times if said and is_time[0] else 0
        last = stamps[-1] if stamps and stamps[-1] > first else length
        return [Segment(first, min(last, length), words)], length
    if alone_at_end:
        cuts.append(len(said))
    found, begin = [], 0
    for end in cuts:
        piece = said[begin:end]
        words = [token for token in piece if token < vocabulary.end]
        found.append(Segment(piece[0] - times, piece[-1] - times, words))
        begin = end
    following = length if alone_at_end else said[cuts[-1] - 1] - times
    return found, following if 0 < following <= length else length


def repetition(text: str) -> float:
    """Tell how many times smaller a text can be written: above 2.4 it is a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0
