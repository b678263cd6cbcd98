"""What embedding models of any kind take beside texts, with the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import TABLE, WIDTH, WORDS, write_graph, write_tokenizer

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding
from stackctl_daemon.inference.adapters.vector_option import cut
from stackctl_daemon.inference.session import DevicePolicy


def model(directory: Path, **options: Any) -> TextEmbedding:
    graph, tokenizer = write_graph(directory, pooled=False), write_tokenizer(directory)
    spec = ModelSpec("tiny", directory, graph, tokenizer, 4, WIDTH, options)
    return TextEmbedding(spec, DevicePolicy("cpu").open)


def ids(*numbers: int, dtype: str = "<i8") -> Input:
    return Input(tensors={"input_ids": np.array(numbers, dtype)})


def test_fewer_dimensions_are_the_first_ones_at_length_one(tmp_path: Path) -> None:
    made = model(tmp_path, matryoshka=[2])
    texts = [Input(text="river"), Input(text="copper")]

    found = made.compute(made.prepare(texts, {"dimensions": 2}))

    for row, table in zip(found, TABLE[1:3, :2], strict=True):
        np.testing.assert_allclose(row, table / np.linalg.norm(table), atol=1e-6)
    assert made.width({"dimensions": 2}) == 2


def test_requests_of_different_dimensions_share_a_batch(tmp_path: Path) -> None:
    made = model(tmp_path, matryoshka=True)
    units = made.prepare([Input(text="river")], {})
    units += made.prepare([Input(text="river")], {"dimensions": 3})

    full, part = made.compute(units)

    assert (len(full), len(part)) == (WIDTH, 3)
    np.testing.assert_allclose(part, cut(full, 3), atol=1e-6)


def test_a_model_that_was_not_trained_to_be_cut_is_not(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"vectors of 4 and was not trained .* 2, expected 4"):
        model(tmp_path).prepare([Input(text="river")], {"dimensions": 2})
    with pytest.raises(Invalid, match="expected 2, 4"):
        model(tmp_path, matryoshka=[2]).width({"dimensions": 3})
    with pytest.raises(Invalid, match="expected a whole number, 1 to 4"):
        model(tmp_path, matryoshka=True).width({"dimensions": 5})


def test_token_ids_are_read_as_the_text_they_stand_for(tmp_path: Path) -> None:
    made = model(tmp_path)

    found = made.compute(made.prepare([ids(1, 3), ids(2, dtype="|u1")], {}))

    texts = [Input(text="river lantern"), Input(text="copper")]
    np.testing.assert_array_equal(found, made.compute(made.prepare(texts, {})))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ids(1, -1), "have -1, expected 0 to 5"),
        (ids(1, 4000), "have 4000"),
        (ids(), r"int64 \[0\], expected whole numbers in one dimension, at least one"),
        (ids(1, dtype="<f4"), "float32"),
        (Input(tensors={"ids": np.array([1])}), 'the tensors ids, expected "input_ids" alone'),
        (Input(data=b"x"), 'reads text, or token ids as "input_ids"'),
    ],
)
def test_what_are_no_token_ids_is_named(tmp_path: Path, given: Input, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        model(tmp_path).prepare([given], {})


def test_what_is_past_the_window_is_refused_when_asked_to(tmp_path: Path) -> None:
    made = model(tmp_path)
    long = "river " * 7

    [unit] = made.prepare([Input(text=long)], {})
    assert (unit.tokens, unit.truncated) == (4, True)
    assert not made.prepare([Input(text="river " * 4)], {"truncate": False})[0].truncated
    with pytest.raises(Invalid, match='input 1 has 7 tokens, the window of "tiny" is 4'):
        made.prepare([Input(text=WORDS[1]), Input(text=long)], {"truncate": False})
    with pytest.raises(Invalid, match="input 0 has 5 tokens"):
        made.prepare([ids(1, 1, 1, 1, 1)], {"truncate": False})
