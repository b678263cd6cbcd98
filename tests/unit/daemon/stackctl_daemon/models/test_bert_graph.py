"""The graph against an independent BERT in numpy, on small random weights."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_bert import CONFIG, random_weights, write_safetensors

from stackctl.errors import Invalid
from stackctl_daemon.models.bert_graph import PADDED_FILE, build_graph


def normalise(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    spread = np.sqrt(x.var(-1, keepdims=True) + CONFIG["layer_norm_eps"])
    result: np.ndarray = (x - x.mean(-1, keepdims=True)) / spread * scale + bias
    return result


def reference(
    weights: dict[str, np.ndarray], ids: list[int], layers: int = 2, heads: int = 4
) -> np.ndarray:
    """Token vectors of one unpadded text, in float64, one head after the other."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(scope: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{scope}.weight"].T + w[f"{scope}.bias"]

    def norm(scope: str, x: np.ndarray) -> np.ndarray:
        return normalise(x, w[f"{scope}.weight"], w[f"{scope}.bias"])

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    erf = np.vectorize(math.erf)
    for number in range(layers):
        scope = f"encoder.layer.{number}"
        q, k, v = (linear(f"{scope}.attention.self.{n}", x) for n in ("query", "key", "value"))
        outputs = []
        for part in np.split(np.arange(x.shape[1]), heads):
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(len(part)))
            outputs.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        mixed = linear(f"{scope}.attention.output.dense", np.concatenate(outputs, 1))
        x = norm(f"{scope}.attention.output.LayerNorm", x + mixed)
        wide = linear(f"{scope}.intermediate.dense", x)
        wide = 0.5 * wide * (1 + erf(wide / math.sqrt(2)))
        x = norm(f"{scope}.output.LayerNorm", x + linear(f"{scope}.output.dense", wide))
    return x


def run(graph: Path, texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, texts))
    ids = np.zeros((len(texts), width), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    vectors, hidden = session.run(["sentence_embedding", "last_hidden_state"], feed)
    return vectors, hidden


def model_in(directory: Path, weights: dict[str, np.ndarray], **changes: object) -> Path:
    write_safetensors(directory / "model.safetensors", weights)
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    return directory


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_graph_agrees_with_numpy_on_padded_batches(tmp_path: Path, prefix: str) -> None:
    texts = [[3, 4, 5, 6, 7, 8, 9], [10, 11], [1]]
    weights = random_weights()
    named = {prefix + name: value for name, value in weights.items()}

    vectors, hidden = run(build_graph(model_in(tmp_path, named)), texts)

    for row, text in enumerate(texts):
        expected = reference(weights, text)
        np.testing.assert_allclose(hidden[row, : len(text)], expected, rtol=1e-3, atol=2e-4)
        mean = expected.mean(0)
        assert vectors[row] @ (mean / np.linalg.norm(mean)) > 0.9999
        assert np.linalg.norm(vectors[row]) == pytest.approx(1, abs=1e-5)


def test_packing_changes_no_vector(tmp_path: Path) -> None:
    packed = build_graph(model_in(tmp_path, random_weights()))
    texts = [[3, 4, 5, 6, 7, 8, 9], [10, 11], [1], [12] * 20]

    vectors, hidden = run(packed, texts)
    plain_vectors, plain_hidden = run(tmp_path / PADDED_FILE, texts)

    np.testing.assert_allclose(vectors, plain_vectors, atol=1e-6)
    for row, text in enumerate(texts):
        kept = slice(0, len(text))
        np.testing.assert_allclose(hidden[row, kept], plain_hidden[row, kept], atol=1e-5)


def test_padding_before_a_text_is_left_out_too(tmp_path: Path) -> None:
    graph = build_graph(model_in(tmp_path, random_weights()))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    ids = np.array([[0, 0, 5, 6], [3, 4, 5, 6]], np.int64)
    feed = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64),
            "token_type_ids": np.zeros_like(ids)}  # fmt: skip
    plain = onnxruntime.InferenceSession(
        tmp_path / PADDED_FILE, providers=["CPUExecutionProvider"]
    )

    [found] = session.run(["sentence_embedding"], feed)

    np.testing.assert_allclose(found, plain.run(["sentence_embedding"], feed)[0], atol=1e-6)


def test_half_precision_weights_are_cast(tmp_path: Path) -> None:
    weights = {name: value.astype(np.float16) for name, value in random_weights().items()}

    vectors, _ = run(build_graph(model_in(tmp_path, weights)), [[3, 4, 5]])

    mean = reference(weights, [3, 4, 5]).mean(0)
    assert vectors[0] @ (mean / np.linalg.norm(mean)) > 0.9999


def test_graph_passes_onnx_checker(tmp_path: Path) -> None:
    graph = build_graph(model_in(tmp_path, random_weights()))

    onnx.checker.check_model(str(graph), full_check=True)


def test_graph_is_built_once_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    model_in(tmp_path, random_weights())
    first = build_graph(tmp_path).stat().st_mtime_ns

    assert build_graph(tmp_path).stat().st_mtime_ns == first
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "graph-v2.onnx",
        "graph-v2.padded.onnx",
        "model.safetensors",
    ]


def test_a_damaged_graph_is_made_anew(tmp_path: Path) -> None:
    graph = build_graph(model_in(tmp_path, random_weights()))
    good = graph.read_bytes()
    graph.write_bytes(b"garbage".ljust(len(good), b"x"))

    assert build_graph(tmp_path).read_bytes() == good


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"num_hidden_layers": 3}, r"encoder\.layer\.2"),
    ],
)
def test_other_architectures_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    model_in(tmp_path, random_weights(), **changes)

    with pytest.raises(Invalid, match=message):
        build_graph(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope"])
def test_a_cut_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    model_in(tmp_path, random_weights())
    (tmp_path / "model.safetensors").write_bytes(data)

    with pytest.raises(Invalid, match="safetensors"):
        build_graph(tmp_path)
