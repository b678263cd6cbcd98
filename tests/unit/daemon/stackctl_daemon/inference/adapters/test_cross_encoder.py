"""A graph of a reranker's true inputs and outputs: what it reads shows in what it gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import TABLE, WIDTH, write_tokenizer

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.cross_encoder import CrossEncoder, sigmoid
from stackctl_daemon.inference.calibration import samples
from stackctl_daemon.inference.session import DevicePolicy

HEAD = np.random.default_rng(5).normal(size=(WIDTH, 3)).astype(np.float32)


def write_pair_graph(directory: Path, numbers: int) -> Path:
    """Logits: the sum of the words' rows, a document's tripled, times a head."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.FLOAT),
        node("Mul", ["kinds", "two"], ["doubled"]),
        node("Add", ["mask", "doubled"], ["weights"]),
        node("Unsqueeze", ["weights", "last"], ["column"]),
        node("Mul", ["rows", "column"], ["weighted"]),
        node("ReduceSum", ["weighted", "middle"], ["pooled"], keepdims=0),
        node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    names = ("input_ids", "attention_mask", "token_type_ids")
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", numbers])],
        [
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(HEAD[:, :numbers], "head"),
            numpy_helper.from_array(np.array(2, np.float32), "two"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "middle"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file = directory / "model.onnx"
    onnx.save(made, str(file))
    return file


def model(directory: Path, numbers: int) -> CrossEncoder:
    graph, tokenizer = write_pair_graph(directory, numbers), write_tokenizer(directory)
    spec = ModelSpec("pairs", directory, graph, tokenizer, 6)
    return CrossEncoder(spec, DevicePolicy("cpu").open)


def logits(query: list[int], document: list[int], numbers: int) -> np.ndarray:
    weighted = TABLE[query].sum(0) + 3 * TABLE[document].sum(0)
    found: np.ndarray = weighted @ HEAD[:, :numbers]
    return found


def test_a_head_of_one_number_is_scored_by_its_sigmoid(tmp_path: Path) -> None:
    made = model(tmp_path, 1)
    documents = [Input(text="copper"), Input(text="lantern orchard copper")]

    found = made.compute(made.prepare(documents, {"query": "river"}))

    for result, document in zip(found, ([2], [3, 4, 2]), strict=True):
        expected = float(logits([1], document, 1)[0])
        assert result.value["logit"] == pytest.approx(expected, abs=1e-5)
        assert result.value["score"] == pytest.approx(1 / (1 + math.exp(-expected)), abs=1e-6)


def test_a_head_of_two_numbers_is_scored_by_the_softmax_of_the_second(tmp_path: Path) -> None:
    made = model(tmp_path, 2)

    [found] = made.compute(made.prepare([Input(text="copper")], {"query": "river"}))

    no, yes = np.exp(logits([1], [2], 2))
    assert found.value["score"] == pytest.approx(yes / (no + yes), abs=1e-6)


def test_the_longer_text_is_cut_to_fit(tmp_path: Path) -> None:
    made = model(tmp_path, 1)

    [unit] = made.prepare([Input(text="copper " * 9)], {"query": "river river"})

    assert (unit.payload.ids, unit.payload.kinds) == ([1, 1, 2, 2, 2, 2], [0, 0, 1, 1, 1, 1])
    assert (unit.cost, unit.truncated) == (6, True)


def test_a_head_of_three_numbers_is_not_a_rerankers(tmp_path: Path) -> None:
    made = model(tmp_path, 3)

    with pytest.raises(Failed, match=r"gave \[1, 3\] for 1 pairs, expected \[1, 1\] or \[1, 2\]"):
        made.compute(made.prepare([Input(text="copper")], {"query": "river"}))


def test_ranking_without_a_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match='option "query" is null'):
        model(tmp_path, 1).prepare([Input(text="copper")], {})


def test_a_sigmoid_never_overflows() -> None:
    assert (sigmoid(1e4), sigmoid(-1e4), sigmoid(0.0)) == (1.0, 0.0, 0.5)


def test_a_reranker_is_tuned_with_a_query_of_its_own(tmp_path: Path) -> None:
    measure, budgets = samples(model(tmp_path, 1), None)

    for items, cost, duration_s in measure(budgets[0]):
        assert items > 1
        assert cost >= items
        assert duration_s > 0
