"""Encoder-decoder text generation, token by token; refuses to batch.

Each input runs alone: such graphs are often quantised by the range of a whole batch, so that
what a text becomes would depend on what stood beside it. The decoder has no cache of keys and
values, so a token costs more the later it comes.
Source: greedy search with the repetition penalty of Keskar et al. 2019 and the ban of repeated
n-grams of Paulus et al. 2018, in the order and on the tokens (those generated, with the first)
that transformers' ``generate`` has for encoder-decoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    Array,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Texts,
    Unit,
)
from stackctl_daemon.inference.adapters.option import check_known, read_float, read_int, shown
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer

_KNOWN = ("max_new_tokens", "stop", "repetition_penalty", "no_repeat_ngram")
_MOST_STOPS = 16


class _Wish(NamedTuple):
    ids: list[int]
    max_new_tokens: int
    stop: list[str]
    repetition_penalty: float
    no_repeat_ngram: int


class Seq2Seq(Texts, Adapter):
    """Texts to ``{"text", "tokens", "finish_reason"}``; streamed, pieces ``{"text"}`` first.

    Options of an entry: ``encoder`` and ``decoder``, ONNX files; ``prefix``, what every text
    begins with; ``start`` and ``end``, tokens; ``most_new_tokens``; and defaults of a request's:
    ``max_new_tokens``, ``stop`` (texts that end the answer, and are not in it),
    ``repetition_penalty``, ``no_repeat_ngram``.
    """

    streams = True

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json')
        self._tokenizer = Tokenizer(spec.tokenizer, spec.max_tokens)
        self._prefix = str(spec.options.get("prefix", ""))
        self._start = self._token("start", "<pad>")
        self._end = self._token("end", "</s>")
        self._most = int(spec.options.get("most_new_tokens", 512))
        self._encoder = open_session(spec.file("encoder", "encoder.onnx"))
        self._decoder = open_session(spec.file("decoder", "decoder.onnx"))
        wanted = {"input_ids", "encoder_hidden_states", "encoder_attention_mask"}
        if set(self._decoder.inputs) != wanted:
            raise Failed(
                f'the decoder of "{spec.name}" takes {", ".join(self._decoder.inputs)},'
                f" expected {', '.join(sorted(wanted))}"
            )

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._decoder.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Turn texts into token ids, cut to the encoder's window."""
        check_known(self.spec.name, options, _KNOWN)
        asked = {key: self.spec.options[key] for key in _KNOWN if key in self.spec.options}
        asked |= {key: value for key, value in options.items() if value is not None}
        settings = (
            read_int(asked, "max_new_tokens", min(64, self._most), low=1, high=self._most),
            read_stops(asked),
            read_float(asked, "repetition_penalty", 1.0, low=0.1, high=10.0),
            read_int(asked, "no_repeat_ngram", 0, low=0, high=100),
        )
        texts = [self._prefix + text for text in self.texts(inputs)]
        return [
            Unit(len(t.ids), _Wish(t.ids, *settings), len(t.ids), t.truncated)
            for t in self._tokenizer.encode(texts)
        ]

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give whole answers."""
        results = []
        for unit in units:
            for piece in self.stream(unit):
                if isinstance(piece, Result):
                    results.append(piece)
        return results

    def stream(self, unit: Unit) -> Iterator[Any]:
        """Give ``{"text": piece}`` as tokens come, the whole `Result` last."""
        wish: _Wish = unit.payload
        decoding, text, given, count = self._tokenizer.decoding(), "", 0, 0
        reason = "length"
        for number in self._greedy(wish):
            if number == self._end:
                reason = "stop"
                break
            count += 1
            text += decoding.step(number)
            found = first_stop(text, wish.stop)
            if found >= 0:
                text, reason = text[:found], "stop"
                break
            certain = len(text) - held_back(text, wish.stop)
            if certain > given:
                yield {"text": text[given:certain]}
                given = certain
        else:
            text += decoding.rest()
        if len(text) > given:
            yield {"text": text[given:]}
        yield Result({"text": text, "tokens": count, "finish_reason": reason})

    def _greedy(self, wish: _Wish) -> Iterator[int]:
        """Give token ids, the end's among them, ``max_new_tokens`` at most."""
        mask = np.ones((1, len(wish.ids)), np.int64)
        feed: dict[str, Array] = {"input_ids": np.array([wish.ids], np.int64)}
        if "attention_mask" in self._encoder.inputs:
            feed["attention_mask"] = mask
        hidden = self._encoder.run([self._encoder.outputs[0]], feed)[0]
        ids = [self._start]
        for _ in range(wish.max_new_tokens):
            [logits] = self._decoder.run(
                [self._decoder.outputs[0]],
                {
                    "input_ids": np.array([ids], np.int64),
                    "encoder_hidden_states": hidden,
                    "encoder_attention_mask": mask,
                },
            )
            scores = logits[0, -1].astype(np.float64)
            if not np.isfinite(scores).all():
                raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
            penalise(scores, ids, wish.repetition_penalty)
            scores[banned(ids, wish.no_repeat_ngram)] = -np.inf
            ids.append(int(scores.argmax()))
            yield ids[-1]
            if ids[-1] == self._end:
                return

    def _token(self, option: str, default: str) -> int:
        token = str(self.spec.options.get(option, default))
        found = self._tokenizer.token_id(token)
        if found is None:
            raise Failed(f'the vocabulary of "{self.spec.name}" has no {option} token "{token}"')
        return found


def penalise(scores: npt.NDArray[np.float64], ids: Sequence[int], penalty: float) -> None:
    """Divide the positive, multiply the negative scores of tokens that were there, in place."""
    if penalty != 1.0:
        seen = np.unique(np.array(ids, np.int64))
        found = scores[seen]
        scores[seen] = np.where(found > 0, found / penalty, found * penalty)


def banned(ids: Sequence[int], size: int) -> list[int]:
    """Give the tokens that would repeat a run of ``size`` tokens; 0: none."""
    if not size or len(ids) < size:
        return []
    last = list(ids[len(ids) - size + 1 :])
    starts = range(len(ids) - size + 1)
    return [ids[i + size - 1] for i in starts if list(ids[i : i + size - 1]) == last]


def first_stop(text: str, stops: Sequence[str]) -> int:
    """Give where the first of the texts that end an answer begins; -1: none is there."""
    return min((at for at in map(text.find, stops) if at >= 0), default=-1)


def held_back(text: str, stops: Sequence[str]) -> int:
    """Give how many characters at the end may yet become one of the texts that end it."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest


def read_stops(options: Mapping[str, Any]) -> list[str]:
    """Give the texts that end an answer: none, one or a list.

    Raises:
        Invalid: they are not texts, are empty, or are too many.
    """
    value = options.get("stop")
    found = [value] if isinstance(value, str) else value or []
    sound = isinstance(found, list) and all(isinstance(stop, str) and stop for stop in found)
    if not sound or len(found) > _MOST_STOPS:
        raise Invalid(
            f'option "stop" is {shown(value)}, expected a text or a list of at most {_MOST_STOPS}'
            " texts, none empty"
        )
    return list(found)
