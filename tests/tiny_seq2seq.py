"""A seq2seq model of a few kilobytes: true inputs and outputs, and a next token that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_model import WORDS

COUNT = len(WORDS)
NEXT = [1, 2, 3, 1, 4]
"""After the start river, after river copper, then lantern, then river again."""
AFTER = np.eye(COUNT, dtype=np.float32)[NEXT]


def save(directory: Path, name: str, nodes: list[Any], inputs: dict[str, Any], table: Any) -> None:
    output = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "n", COUNT])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, str(directory / f"{name}.onnx"))


def write_graphs(directory: Path, table: np.ndarray = AFTER) -> None:
    ids, wide = (TensorProto.INT64, ["batch", "n"]), (TensorProto.FLOAT, ["batch", "s", COUNT])
    node = helper.make_node
    # A word of the text is what comes next with twice the weight of what the table says.
    words = 2 * np.eye(COUNT, dtype=np.float32) * (np.arange(COUNT) > 3)
    gather = [node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    save(directory, "encoder", gather, {"input_ids": ids}, words.astype(np.float32))
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"]),
        node("ReduceMax", ["encoder_hidden_states", "axis"], ["bias"], keepdims=1),
        node("Add", ["rows", "bias"], ["logits"]),
    ]
    inputs = {"input_ids": ids, "encoder_hidden_states": wide, "encoder_attention_mask": ids}
    save(directory, "decoder", nodes, inputs, table)
