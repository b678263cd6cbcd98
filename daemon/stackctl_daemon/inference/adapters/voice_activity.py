"""Silero's voice activity detector: where somebody speaks; refuses to say who or what.

Source: `silero_vad/utils_vad.py` of silero-vad 6.2.3 (`OnnxWrapper` for the windows,
`get_speech_timestamps_from_probs` for the segments). The graph is the variant that takes all
windows of a sound at once: the same probabilities to the last bit, in 0.4 of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.audio import RATE
from stackctl_daemon.inference.adapters.base import (
    Decoding,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.listening import Sounds
from stackctl_daemon.inference.adapters.option import check_known, read_bool, read_float

WINDOW, _CONTEXT, _STATE = 512, 64, (1, 1, 128)
_BLOCK = 512  # windows: 16 s of sound, some 0.1 s of computing
_INPUTS = {"input", "h", "c"}
_OPTIONS = ("threshold", "min_speech_s", "min_silence_s", "pad_s", "probabilities")


@dataclass(frozen=True, slots=True)
class Cutting:
    """How probabilities become segments."""

    threshold: float = 0.5
    """Speech begins at it, and ends 0.15 below it."""
    min_speech_s: float = 0.25
    min_silence_s: float = 0.1
    pad_s: float = 0.03
    """Added at both sides of a segment, as far as its neighbours leave room."""


class _Sound(NamedTuple):
    samples: FloatArray
    cutting: Cutting
    probabilities: bool


class VoiceActivity(Sounds, Decoding):
    """Sound to ``{"segments": [{"start_s", "end_s"}], "speech_ratio", "duration_s"}``.

    With the option ``probabilities`` also a tensor of that name, one for each 32 ms.
    """

    stepwise = True  # two hours take half a minute

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.graph is None:
            raise Failed(f'model "{spec.name}" has no graph')
        self._session = open_session(spec.graph)
        if set(self._session.inputs) != _INPUTS:
            raise Failed(
                f'model "{spec.name}" takes {", ".join(self._session.inputs)}, expected the inputs'
                f" of silero_vad_16k_sequence.onnx: {', '.join(sorted(_INPUTS))}"
            )

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Read the sounds and the options ``threshold``, ``min_speech_s`` and so on."""
        check_known(self.spec.name, options, _OPTIONS)
        base = Cutting()
        cutting = Cutting(
            read_float(options, "threshold", base.threshold, low=0.01, high=1),
            read_float(options, "min_speech_s", base.min_speech_s, low=0, high=60),
            read_float(options, "min_silence_s", base.min_silence_s, low=0, high=60),
            read_float(options, "pad_s", base.pad_s, low=0, high=10),
        )
        wanted = read_bool(options, "probabilities", False)
        for sound in self.sounds(inputs):
            yield None if sound is None else Unit(1, _Sound(sound, cutting, wanted))

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give the segments of each sound."""
        found = []
        for unit in units:
            *_, last = self.stream(unit)
            found.append(last)
        return found

    def stream(self, unit: Unit) -> Iterator[Any]:
        """Give None after each part of the sound but the last, then the `Result`."""
        sound: _Sound = unit.payload
        length = len(sound.samples)
        found = np.empty(-(-length // WINDOW), np.float32)
        for done in self._fill(found, sound.samples):
            if done < len(found):
                yield None
        spans = cut(found, length, sound.cutting)
        value = {
            "segments": [
                {"start_s": round(start / RATE, 3), "end_s": round(end / RATE, 3)}
                for start, end in spans
            ],
            "speech_ratio": round(sum(end - start for start, end in spans) / length, 4),
            "duration_s": round(length / RATE, 3),
        }
        yield Result(value, {"probabilities": found} if sound.probabilities else None)

    def _fill(self, found: FloatArray, samples: FloatArray) -> Iterator[int]:
        """Write the probability of speech in each window of 512 samples; give how many are."""
        count = len(found)
        padded = np.pad(samples, (_CONTEXT, count * WINDOW - len(samples)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW + _CONTEXT)[::WINDOW]
        state = {"h": np.zeros(_STATE, np.float32), "c": np.zeros(_STATE, np.float32)}
        for first in range(0, count, _BLOCK):
            block = np.ascontiguousarray(windows[first : first + _BLOCK])
            part, state["h"], state["c"] = self._session.run(
                ["speech_probs", "hn", "cn"], {"input": block, **state}
            )
            if not np.isfinite(part).all():
                raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
            found[first : first + _BLOCK] = part
            yield min(first + _BLOCK, count)


def cut(probabilities: FloatArray, length: int, cutting: Cutting) -> list[tuple[int, int]]:
    """Give the start and end of each segment, in samples of 16 kHz.

    Args:
        probabilities: one a window of 512 samples.
        length: samples of the sound.
        cutting: thresholds and durations.
    """
    spans = _spans(probabilities, length, cutting)
    pad = RATE * cutting.pad_s
    for number, span in enumerate(spans):
        if number == 0:
            span[0] = int(max(0, span[0] - pad))
        if number == len(spans) - 1:
            span[1] = int(min(length, span[1] + pad))
            break
        following = spans[number + 1]
        silence = following[0] - span[1]
        if silence < 2 * pad:
            span[1] += silence // 2
            following[0] = max(0, following[0] - silence // 2)
        else:
            span[1] = int(min(length, span[1] + pad))
            following[0] = int(max(0, following[0] - pad))
    return [(start, end) for start, end in spans]


def _spans(probabilities: FloatArray, length: int, cutting: Cutting) -> list[list[int]]:
    leave = max(cutting.threshold - 0.15, 0.01)
    shortest, silence = RATE * cutting.min_speech_s, RATE * cutting.min_silence_s
    spans: list[list[int]] = []
    start, quiet_from = -1, 0
    for at, probability in zip(range(0, length, WINDOW), probabilities.tolist(), strict=True):
        if probability >= cutting.threshold:
            quiet_from = 0
            if start < 0:
                start = at
        elif probability < leave and start >= 0:
            quiet_from = quiet_from or at
            if at - quiet_from >= silence:
                if quiet_from - start > shortest:
                    spans.append([start, quiet_from])
                start, quiet_from = -1, 0
    if start >= 0 and length - start > shortest:
        spans.append([start, length])
    return spans
