"""A model of a few kilobytes: its vector of a text is the mean of its words' table rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

WIDTH = 4
WORDS = ["[UNK]", "river", "copper", "lantern", "orchard"]
TABLE = np.random.default_rng(3).normal(size=(len(WORDS), WIDTH)).astype(np.float32)
POISON = "poison"
"""A word whose row is not in the table: ONNX Runtime fails on it, and on nothing else."""


def write_tokenizer(directory: Path) -> Path:
    vocabulary = {word: number for number, word in enumerate(WORDS)} | {POISON: 1000}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    file = directory / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def write_graph(directory: Path, *, pooled: bool, table: np.ndarray = TABLE) -> Path:
    """Write a graph whose output is pooled, or is a vector a token."""
    name = "sentence_embedding" if pooled else "last_hidden_state"
    rows = "rows" if pooled else name
    nodes = [helper.make_node("Gather", ["table", "input_ids"], [rows])]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", [rows, "axes"], [name], keepdims=0))
    shape = ["batch", WIDTH] if pooled else ["batch", "tokens", WIDTH]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file = directory / f"{name}.onnx"
    onnx.save(model, str(file))
    return file
