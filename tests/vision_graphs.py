"""Graphs of a few kilobytes with the inputs and outputs of vision models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

WIDTH = 8
COLOURS = ["red", "green", "blue"]
BEGIN, END = 0, 1
_MIX = np.random.default_rng(5).normal(size=(3, WIDTH)).astype(np.float32)


def save(file: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, list[object]]],
         outputs: dict[str, list[object]], values: dict[str, np.ndarray]) -> Path:  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "vision",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return file


def write_means(file: Path, *, nhwc: bool = False) -> Path:
    """A picture to the mean of each channel; ``hidden`` is the same inside the graph, doubled."""
    shape: list[object] = ["batch", "h", "w", 3] if nhwc else ["batch", 3, "h", "w"]
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "two"], ["hidden"]),
        helper.make_node("Sub", ["hidden", "means"], ["scores"]),
    ]
    axes = np.array([1, 2] if nhwc else [2, 3], np.int64)
    return save(file, nodes, {"pixels": (TensorProto.FLOAT, shape)}, {"scores": ["batch", 3]},
                {"axes": axes, "two": np.array([2], np.float32)})  # fmt: skip


def vision_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceMean", ["pixel_values", "space"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "mix"], ["image_embeds"]),
    ]


def text_nodes() -> list[onnx.NodeProto]:
    """A text is the sum of the rows of its tokens: padding counts if it is not masked."""
    return [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "mix"], ["text_embeds"]),
    ]


def clip_values() -> dict[str, np.ndarray]:
    # Begin, end and unknown mean nothing, then a row a colour; padding is a colour nobody wants.
    table = np.concatenate([np.zeros((3, 3)), np.eye(3), np.full((1, 3), 9.0)])
    return {
        "mix": _MIX,
        "space": np.array([2, 3], np.int64),
        "table": table.astype(np.float32),
        "last": np.array([2], np.int64),
        "one": np.array([1], np.int64),
    }


PAD_ID = 6
PIXELS = {"pixel_values": (TensorProto.FLOAT, ["batch", 3, 224, 224])}
IDS = {
    "input_ids": (TensorProto.INT64, ["batch_text", 77]),
    "attention_mask": (TensorProto.INT64, ["batch_text", 77]),
}


def write_clip(directory: Path, *, joint: bool, kind: int = TensorProto.INT64) -> None:
    """Write the graphs of a CLIP of three colours, in the shapes of ViT-B/32, and a tokenizer."""
    values = clip_values()
    ids: dict[str, tuple[int, list[object]]] = {
        name: (kind, list(shape)) for name, (_, shape) in IDS.items()
    }
    pixels: dict[str, tuple[int, list[object]]] = {
        name: (k, list(shape)) for name, (k, shape) in PIXELS.items()
    }
    image: dict[str, list[object]] = {"image_embeds": ["batch", WIDTH]}
    text: dict[str, list[object]] = {"text_embeds": ["batch_text", WIDTH]}
    seen = {name: values[name] for name in ("mix", "space")}
    read = {name: values[name] for name in ("mix", "table", "last", "one")}
    if joint:
        both = [*vision_nodes(), *text_nodes()]
        save(directory / "model.onnx", both, {**pixels, **ids}, {**text, **image}, values)
    else:
        save(directory / "vision_model.onnx", vision_nodes(), pixels, image, seen)
        save(directory / "text_model.onnx", text_nodes(), ids, text, read)
    words = {"<begin>": BEGIN, "<end>": END, "<unknown>": 2}
    words |= {word: 3 + i for i, word in enumerate(COLOURS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unknown>"))  # noqa: S106 - a word
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", BEGIN), ("<end>", END)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
