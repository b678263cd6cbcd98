from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import TABLE, WIDTH, WORDS, write_graph, write_tokenizer

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import FloatArray, Input, ModelSpec, Unit
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding, Wanted
from stackctl_daemon.inference.session import DevicePolicy, DeviceUnusable


def session(directory: Path, graph: Path, *, max_tokens: int = 8) -> TextEmbedding:
    spec = ModelSpec(
        "tiny", directory, graph, write_tokenizer(directory), max_tokens, dimensions=WIDTH
    )
    return TextEmbedding(spec, DevicePolicy("cpu").open)


def embed(model: TextEmbedding, batch: list[list[int]]) -> FloatArray:
    units = [Unit(len(ids), Wanted(ids, WIDTH)) for ids in batch]
    return np.asarray(model.compute(units))


def test_a_graph_that_pools_is_taken_at_its_word(tmp_path: Path) -> None:
    made = session(tmp_path, write_graph(tmp_path, pooled=True))

    found = embed(made, [[1, 2], [3, 3]])

    np.testing.assert_allclose(found, [TABLE[[1, 2]].mean(0), TABLE[3]], atol=1e-6)
    assert made.execution_provider == "CPUExecutionProvider"


def test_vectors_of_tokens_are_averaged_without_padding_and_normalised(tmp_path: Path) -> None:
    made = session(tmp_path, write_graph(tmp_path, pooled=False))

    found = embed(made, [[1, 2, 4], [3]])

    means = np.stack([TABLE[[1, 2, 4]].mean(0), TABLE[3]])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_past_the_window_is_cut_and_told(tmp_path: Path) -> None:
    made = session(tmp_path, write_graph(tmp_path, pooled=True), max_tokens=2)

    texts = [Input(text="river copper"), Input(text="river copper lantern")]
    short, long = made.prepare(texts, {})

    assert (short.payload.ids, short.truncated) == (
        [WORDS.index("river"), WORDS.index("copper")],
        False,
    )
    assert (long.payload.ids, long.truncated) == (short.payload.ids, True)


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    table = TABLE.copy()
    table[2] = np.nan
    made = session(tmp_path, write_graph(tmp_path, pooled=True, table=table))

    assert np.isfinite(embed(made, [[1]])).all()
    with pytest.raises(Failed, match="not finite"):
        embed(made, [[1], [2]])


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"not a graph")

    with pytest.raises(Failed, match=r"cannot open .*model\.onnx") as caught:
        session(tmp_path, graph)

    assert not isinstance(caught.value, DeviceUnusable)
