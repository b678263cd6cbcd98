"""Whisper models: sound to text with times, in the language spoken or in English.

Source: `whisper/transcribe.py` of openai-whisper: windows of 30 s, each beginning where the last
whole segment ended; a window that loops or that the model is unsure of is drawn again at higher
temperatures; one in which it hears nobody is left out.
It departs from the source where that does worse. A text that repeats itself is a loop only when it
does not end: a speaker may repeat himself. Silence that the model is sure of need not be badly
worded, and a segment without a letter is none: tiny models put "you" and dots into pauses. What
was said before is not fed back in: it helps names and lets loops spread. Whether anybody speaks is
asked without the prompt, which hides it; and a prompt that a window loops or stumbles over is left
out for the rest of that window (the source: from the next one on).
Of a model of several languages, the language is that of the first window unless it is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.audio import RATE
from stackctl_daemon.inference.adapters.base import (
    Array,
    Decoding,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.listening import Sounds
from stackctl_daemon.inference.adapters.mel import HOP
from stackctl_daemon.inference.adapters.option import check_known, read_float, read_int, shown
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer
from stackctl_daemon.inference.adapters.transcription_decoding import Decoded, Decoder
from stackctl_daemon.inference.adapters.transcription_rules import (
    LANGUAGES,
    STEP_S,
    TASKS,
    Vocabulary,
    repetition,
    segments,
)

_TIMES = 1501  # 0 to 30 s
_MAX_TOKENS = 224  # half of the decoder's window, the other half is the prompt's
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_DECODED = 2 * _MAX_TOKENS
"""Of a window, in all: beyond it nothing is drawn again. The source knows no bound."""
_LOOP, _UNSURE = 2.4, -1.0
# Probability that nobody speaks, with the mean logarithm below which the words do not count.
_SILENCE = ((0.6, _UNSURE), (0.9, -0.5))
_LOOP_IN_SILENCE = 0.6
_STEP_SAMPLES = round(STEP_S * RATE)
_ENGLISH, _MULTILINGUAL = 50256, 50257  # ends of text
_OPTIONS = ("language", "task", "prompt", "max_tokens", "temperature")


class _Sound(NamedTuple):
    samples: FloatArray
    prompt: list[int]
    max_tokens: int
    temperatures: tuple[float, ...]
    language: str
    """"" to be found out."""
    task: str


class Transcription(Sounds, Decoding):
    """Sound to ``{"text", "segments": [{"start_s", "end_s", "text"}], "duration_s", "language"}``.

    Streamed, a piece a window: ``{"text", "segments", "position_s"}``, whose texts follow one
    another without anything between them.
    """

    streams = True
    stepwise = True

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None or spec.graph is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json or no graph')
        self._tokenizer = Tokenizer(spec.tokenizer)
        encoder = open_session(spec.graph)
        decoder = open_session(spec.graph.with_name(spec.graph.name.replace("encoder", "decoder")))
        self._vocabulary = _vocabulary(spec, self._tokenizer)
        default = "" if self._vocabulary.languages else "en"
        self._language = str(spec.options.get("language", default))
        self._decoder = Decoder(encoder, decoder, self._vocabulary)
        self._provider = encoder.execution_provider

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._provider

    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Read the sounds and the options.

        ``language``: a code such as ``de``; of models of English alone only theirs.
        ``task``: ``transcribe``, or ``translate`` into English. ``prompt``: text that the sound
        goes on from, its last 223 tokens count. ``max_tokens``: of a window. ``temperature``: the
        only one to draw at.
        """
        check_known(self.spec.name, options, _OPTIONS)
        language, task = self._spoken(options)
        most = read_int(options, "max_tokens", _MAX_TOKENS, low=1, high=_MAX_TOKENS)
        tried: tuple[float, ...] = _TEMPERATURES
        if "temperature" in options:
            only = read_float(options, "temperature", 0, low=0, high=2)
            tried = (only,) if only else tried
        prompt = self._prompt(options.get("prompt", ""))
        told = (prompt, most, tried, language, task)
        for sound in self.sounds(inputs):
            yield None if sound is None else Unit(1, _Sound(sound, *told))

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give the text of each sound."""
        found = []
        for unit in units:
            *_, last = self.stream(unit)
            found.append(last)
        return found

    def stream(self, unit: Unit) -> Iterator[Any]:
        """Give a piece for each window of up to 30 s, then the `Result`."""
        sound: _Sound = unit.payload
        length = -(-len(sound.samples) // _STEP_SAMPLES)
        window = self._decoder.frames * HOP // _STEP_SAMPLES
        said: list[str] = []
        spans: list[dict[str, Any]] = []
        at, language = 0, sound.language
        while at < length:
            size = min(window, length - at)
            begin = at * _STEP_SAMPLES
            heard = self._decoder.listen(sound.samples[begin : begin + window * _STEP_SAMPLES])
            first = self._decoder.begin(heard) if self._looks_first(sound) else None
            if first is not None and not language:
                language = self._likeliest(first)
            sound = sound._replace(language=language)
            decoded = self._say(heard, sound, at, first)
            found, texts, moved = self._window(decoded, at, size)
            at += moved
            said += texts
            spans += found
            position_s = round(min(at, length) * STEP_S, 2)
            yield {"text": "".join(texts), "segments": found, "position_s": position_s}
        yield Result(
            {
                "text": "".join(said).strip(),
                "segments": spans,
                "duration_s": round(len(sound.samples) / RATE, 3),
                "language": language,
            }
        )

    def _window(
        self, decoded: Decoded | None, at: int, size: int
    ) -> tuple[list[dict[str, Any]], list[str], int]:
        """Give a window's segments, their texts as they follow one another, and its length."""
        if decoded is None:
            return [], [], size
        cut, moved = segments(decoded.tokens, self._vocabulary, length=size)
        spans, texts = [], []
        for segment in cut:
            text = self._tokenizer.decode(segment.tokens)
            if any(map(str.isalnum, text)) and segment.end > segment.start:
                texts.append(text)
                start, end = at + segment.start, at + min(segment.end, size)
                spans.append(
                    {
                        "start_s": round(start * STEP_S, 2),
                        "end_s": round(end * STEP_S, 2),
                        "text": text.strip(),
                    }
                )
        return spans, texts, moved

    def _likeliest(self, first: FloatArray) -> str:
        """Give the language whose token is the most probable."""
        codes = self._vocabulary.languages
        return max(codes, key=lambda code: float(first[codes[code]]))

    def _looks_first(self, sound: _Sound) -> bool:
        """Tell whether more follows the start than the text: then it is looked at by itself."""
        return bool(self._vocabulary.languages) or len(sound.prompt) > 1

    def _say(
        self, heard: Mapping[str, Array], sound: _Sound, at: int, first: FloatArray | None
    ) -> Decoded | None:
        """Give the first decoding that will do, the last one else; None where nobody speaks."""
        decoded, spent = None, 0
        known = self._vocabulary
        asked = [known.languages[sound.language], known.tasks[sound.task]] if known.tasks else []
        prompt, bare = [*sound.prompt, *asked], [known.start, *asked]
        silence = None if first is None else float(first[known.silent])
        for temperature in self._attempts(sound):
            decoded = self._decoder.say(
                heard,
                prompt,
                max_tokens=sound.max_tokens,
                temperature=temperature,
                seed=at,
            )
            spent += len(decoded.tokens)
            nobody = decoded.silence if silence is None else silence
            if any(nobody > p and decoded.mean_log < log for p, log in _SILENCE):
                return None
            loops = self._loops(decoded)
            if loops and nobody > _LOOP_IN_SILENCE:
                return None
            if (decoded.mean_log >= _UNSURE and not loops) or spent >= _MOST_DECODED:
                break
            prompt = bare
        return decoded

    def _attempts(self, sound: _Sound) -> tuple[float, ...]:
        """Give temperatures; where there is a prompt, the first one again without it."""
        prompted = len(sound.prompt) > 1
        return (sound.temperatures[0],) * prompted + sound.temperatures

    def _loops(self, decoded: Decoded) -> bool:
        if decoded.ended or decoded.looping:
            return decoded.looping
        words = [token for token in decoded.tokens if token < self._vocabulary.end]
        return repetition(self._tokenizer.decode(words)) > _LOOP

    def _spoken(self, options: Mapping[str, Any]) -> tuple[str, str]:
        """Give the language, "" to be found out, and the task.

        Raises:
            Invalid: the model does not have it.
        """
        language, task = options.get("language") or self._language, options.get("task", TASKS[0])
        codes = self._vocabulary.languages
        if language and language != self._language and language not in codes:
            expected = f"one of {', '.join(codes)}" if codes else f'"{self._language}"'
            raise Invalid(
                f'model "{self.spec.name}" knows no language "{language}", expected {expected}'
            )
        if task not in (TASKS if codes else TASKS[:1]):
            can = " or ".join(TASKS) if codes else f"{TASKS[0]}: it is of one language"
            raise Invalid(f'model "{self.spec.name}" does not "{task}", expected {can}')
        return str(language), str(task)

    def _prompt(self, text: object) -> list[int]:
        if not isinstance(text, str):
            raise Invalid(f'option "prompt" is {shown(text)}, expected a text')
        known = self._vocabulary
        if not text.strip():
            return [known.start]
        special = range(known.end, known.size)
        [tokens] = self._tokenizer.encode([f" {text.strip()}"])
        words = [token for token in tokens.ids if token not in special]
        return [known.previous, *words[-(_MAX_TOKENS - 1) :], known.start]


def _vocabulary(spec: ModelSpec, tokenizer: Tokenizer) -> Vocabulary:
    """Give the ids of a model's special tokens, and what its ``config.json`` bars."""

    def find(*names: str) -> int:
        for name in names:
            number = tokenizer.token_id(name)
            if number is not None:
                return number
        raise Failed(f'the tokenizer of model "{spec.name}" has no {names[0]}')

    end = find("<|endoftext|>")
    start = find("<|startoftranscript|>")
    times = find("<|notimestamps|>") + 1
    if end not in (_ENGLISH, _MULTILINGUAL):
        raise Failed(
            f'model "{spec.name}" ends texts by token {end}, expected {_ENGLISH} of English alone'
            f" or {_MULTILINGUAL} of several languages"
        )
    languages: dict[str, int] = {}
    tasks: dict[str, int] = {}
    if end == _MULTILINGUAL:
        numbers = {code: tokenizer.token_id(f"<|{code}|>") for code in LANGUAGES}
        languages = {code: number for code, number in numbers.items() if number is not None}
        tasks = {task: find(f"<|{task}|>") for task in TASKS}
    never, not_first = _barred(spec.file("config", "config.json"))
    return Vocabulary(
        size=times + _TIMES,
        end=end,
        start=start,
        previous=find("<|startofprev|>"),
        silent=find("<|nocaptions|>", "<|nospeech|>"),
        times=times,
        languages=languages,
        tasks=tasks,
        never=never,
        not_first=not_first,
    )


def _barred(file: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        never, first = (config[name] for name in ("suppress_ids", "suppress_ids_begin"))
        return tuple(map(int, never)), tuple(map(int, first))
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise Failed(f"{file} needs suppress_ids and suppress_ids_begin: {err!r}") from err
