"""The int8 encoder against the float32 one, over the same small weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_bert import CONFIG, VOCABULARY, random_weights, write_safetensors

from stackctl.errors import Invalid
from stackctl_daemon.models.bert_graph import build_graph
from stackctl_daemon.models.bert_int8_graph import (
    WEIGHTS_FILE,
    build_int8_graph,
    int8_problem,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_safetensors(tmp_path / "model.safetensors", random_weights())
    return tmp_path


def run(graph: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (6, 9))
    mask = np.ones_like(ids)
    mask[2:, 5:] = 0
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return np.asarray(session.run(["sentence_embedding"], feed)[0])


def test_vectors_are_near_those_of_the_float32_graph(directory: Path) -> None:
    small, plain = run(build_int8_graph(directory)), run(build_graph(directory))

    cosines = (small * plain).sum(1)
    assert cosines.min() > 0.99
    assert np.abs(small - plain).max() > 1e-5


def test_files_are_written_where_they_differ(directory: Path) -> None:
    graph, weights = build_int8_graph(directory), directory / WEIGHTS_FILE
    before = (graph.stat().st_mtime_ns, weights.stat().st_mtime_ns)

    build_int8_graph(directory)

    assert (graph.stat().st_mtime_ns, weights.stat().st_mtime_ns) == before
    assert int8_problem(directory) == ""


def test_weights_that_changed_are_told_and_made_anew(directory: Path) -> None:
    assert int8_problem(directory) == ""
    build_int8_graph(directory)
    data = bytearray((directory / WEIGHTS_FILE).read_bytes())
    data[7] ^= 1
    (directory / WEIGHTS_FILE).write_bytes(data)

    assert int8_problem(directory).startswith(f"{WEIGHTS_FILE} is not what")
    build_int8_graph(directory)
    assert int8_problem(directory) == ""
    (directory / WEIGHTS_FILE).unlink()
    assert int8_problem(directory)


def test_weights_of_half_precision_are_refused(directory: Path) -> None:
    halves = {name: value.astype(np.float16) for name, value in random_weights().items()}
    write_safetensors(directory / "model.safetensors", halves)

    with pytest.raises(Invalid, match="no float32 matrix encoder"):
        build_int8_graph(directory)
