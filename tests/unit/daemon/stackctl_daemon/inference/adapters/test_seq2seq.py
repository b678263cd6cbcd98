"""A graph of a seq2seq model's true inputs and outputs whose next token is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import write_tokenizer
from tiny_seq2seq import AFTER, write_graphs

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input, ModelSpec, Result
from stackctl_daemon.inference.adapters.seq2seq import (
    Seq2Seq,
    banned,
    first_stop,
    held_back,
    penalise,
)
from stackctl_daemon.inference.session import DevicePolicy


def model(directory: Path, table: np.ndarray = AFTER, **options: Any) -> Seq2Seq:
    write_graphs(directory, table)
    known = {"start": "[UNK]", "end": "orchard", **options}
    spec = ModelSpec("tiny", directory, None, write_tokenizer(directory), 8, options=known)
    return Seq2Seq(spec, DevicePolicy("cpu").open)


def ask(made: Seq2Seq, text: str = "copper", **options: Any) -> tuple[list[str], Any]:
    [unit] = made.prepare([Input(text=text)], options)
    *pieces, last = made.stream(unit)
    assert isinstance(last, Result)
    assert [result.value for result in made.compute([unit])] == [last.value]
    return [piece["text"] for piece in pieces], last.value


def test_tokens_come_one_by_one_and_are_the_whole(tmp_path: Path) -> None:
    pieces, whole = ask(model(tmp_path), max_new_tokens=4)

    assert pieces == ["river", " copper", " lantern", " river"]
    expected = {"text": "".join(pieces), "tokens": 4, "finish_reason": "length"}
    assert whole == expected


def test_the_end_token_ends_it_and_is_no_text(tmp_path: Path) -> None:
    # The text holds the end's own word, which the encoder then wants at once.
    pieces, whole = ask(model(tmp_path), "copper orchard")

    assert pieces == []
    assert whole == {"text": "", "tokens": 0, "finish_reason": "stop"}


def test_a_stop_text_across_tokens_ends_it_and_is_not_given(tmp_path: Path) -> None:
    pieces, whole = ask(model(tmp_path), stop=["copper lan", "never"])

    assert "".join(pieces) == "river "
    assert whole == {"text": "river ", "tokens": 3, "finish_reason": "stop"}


def test_what_only_looked_like_a_stop_text_is_given_in_the_end(tmp_path: Path) -> None:
    pieces, whole = ask(model(tmp_path), stop="copper lantern!", max_new_tokens=3)

    assert "".join(pieces) == whole["text"] == "river copper lantern"
    assert whole["finish_reason"] == "length"


def test_a_pair_of_words_is_not_said_twice(tmp_path: Path) -> None:
    _, whole = ask(model(tmp_path), max_new_tokens=6, no_repeat_ngram=2)

    assert whole["text"].split()[:4] == ["river", "copper", "lantern", "river"]
    assert "river copper" not in whole["text"][5:]


def test_the_prefix_goes_before_every_text(tmp_path: Path) -> None:
    plain, prefixed = model(tmp_path), model(tmp_path, prefix="lantern ")

    [unit], [other] = (m.prepare([Input(text="copper")], {}) for m in (plain, prefixed))

    assert (unit.payload.ids, other.payload.ids) == ([2], [3, 2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "whole number, 1 to 512"),
        ({"max_new_tokens": 513}, "is 513"),
        ({"stop": [""]}, "none empty"),
        ({"stop": {"a": 1}}, "expected a text or a list"),
        ({"stop": ["a"] * 17}, "at most 16"),
        ({"repetition_penalty": 0}, "a number, 0.1 to 10"),
        ({"temperature": 1.0}, 'no option "temperature", expected max_new_tokens'),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        model(tmp_path).prepare([Input(text="river")], options)


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not finite"):
        ask(model(tmp_path, np.full_like(AFTER, np.nan)))


def test_a_model_that_lacks_what_it_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match='vocabulary of "tiny" has no end token "</s>"'):
        model(tmp_path, end="</s>")
    write_graphs(tmp_path)
    with pytest.raises(Failed, match="takes input_ids, expected encoder_attention_mask"):
        model(tmp_path, decoder="encoder.onnx")


def test_penalties_are_those_of_the_papers() -> None:
    scores = np.array([2.0, -2.0, 1.0])

    penalise(scores, [0, 1, 1], 2.0)

    assert list(scores) == [1.0, -4.0, 1.0]
    assert banned([1, 2, 3, 1, 2], 3) == [3]
    assert banned([1, 2, 1], 1) == [1, 2, 1]
    assert banned([1, 2], 3) == banned([1, 2, 1, 2], 0) == []


def test_stop_texts_are_found_and_waited_for() -> None:
    assert first_stop("abcab", ["zz", "ca", "b"]) == 1
    assert first_stop("abc", []) == -1
    assert held_back("one tw", ["two", "x"]) == 2
    assert held_back("one two", ["two"]) == 0
    assert held_back("aa", ["aaa", "ab"]) == 2
