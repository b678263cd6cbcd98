"""The BERT encoder with its linear layers in int8; refuses to be anybody's default.

Weights are int8 a column with a scale each (per channel, symmetric), activations uint8 by the
range of what comes in (dynamic). Embeddings, norms and attention stay float32. The sequence
``DynamicQuantizeLinear, MatMulInteger, Cast, Mul`` is what ONNX Runtime fuses into one kernel.
What it loses is measured by ``tests/bench/bench_inference_int8.py``. A result depends, in its last
digits, on what shares its batch: the range is that of the batch's tokens.
Source: Jacob et al. 2018, section 2; ONNX operators DynamicQuantizeLinear-11 and
MatMulInteger-10.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stackctl.errors import Invalid
from stackctl_daemon.models import onnx_wire as wire
from stackctl_daemon.models.bert_graph import Builder, encode_graph
from stackctl_daemon.models.durable_file import holds, replace
from stackctl_daemon.models.safetensors import read_header

GRAPH_FILE = "graph-int8-v2.onnx"
WEIGHTS_FILE = "weights-int8-v1.bin"

_WEIGHTS = "model.safetensors"
_INT8 = 3  # of TensorProto.DataType
_ALIGNMENT = 64  # of an offset, so that mapped weights suit any kernel


class Int8Builder(Builder):
    """Collects the quantised weights beside the nodes."""

    def __init__(self, *arguments: Any, source: Path, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._source = source
        self._quantised: dict[str, tuple[str, str, str]] = {}
        self.weights = bytearray()

    def linear(self, scope: str, source: str) -> str:
        """Multiply in int8, then give the numbers their scale and bias again."""
        values, scale, zero = self._activations(source)
        weight, scales = self._weight(scope)
        whole = f"{scope}.int32"
        self.nodes.append(wire.node("MatMulInteger", [values, weight, zero], [whole]))
        # A b_zero_point that is left out is zero.
        single = self.op("Cast", f"{scope}.float", whole, to=wire.FLOAT)
        both = self.op("Mul", f"{scope}.scales.both", scale, scales)
        product = self.op("Mul", f"{scope}.product", single, both)
        return self.op("Add", f"{scope}.out", product, self.weight(f"{scope}.bias"))

    def _activations(self, source: str) -> tuple[str, str, str]:
        found = self._quantised.get(source)
        if found is None:
            found = (f"{source}.uint8", f"{source}.scale", f"{source}.zero")
            self.nodes.append(wire.node("DynamicQuantizeLinear", [source], found))
            self._quantised[source] = found
        return found

    def _weight(self, scope: str) -> tuple[str, str]:
        name = f"{self.prefix}{scope}.weight"
        place = self.tensors.get(name)
        if place is None or place.dtype != "F32" or len(place.shape) != 2:
            raise Invalid(f"{_WEIGHTS} has no float32 matrix {name}")
        table = np.memmap(self._source, "<f4", "r", place.offset, place.shape)
        scales = np.maximum(np.abs(table).max(1), 1e-12) / np.float32(127)
        values = np.rint(table / scales[:, None]).astype(np.int8).T
        return (
            self._keep(f"{scope}.weight.int8", _INT8, values),
            self._keep(f"{scope}.weight.scales", wire.FLOAT, scales.astype("<f4")),
        )

    def _keep(self, name: str, kind: int, values: Any) -> str:
        data = np.ascontiguousarray(values).tobytes()
        self.weights += bytes(-len(self.weights) % _ALIGNMENT)
        self.initializers.append(
            wire.external_tensor(
                name,
                kind,
                values.shape,
                file=WEIGHTS_FILE,
                offset=len(self.weights),
                length=len(data),
            )
        )
        self.weights += data
        return name


def build_int8_graph(directory: Path) -> Path:
    """Write the quantised graph and its weights beside the model's files, where they differ.

    Inputs and outputs are those of `bert_graph.build_graph`.

    Raises:
        Invalid: the configuration or the tensors are not those of a float32 BERT encoder.
    """
    for name, data in _expected(directory).items():
        if not holds(directory / name, data):
            replace(directory / name, data)
    return directory / GRAPH_FILE


def int8_problem(directory: Path) -> str:
    """Tell what is wrong with the files on disk; "" when nothing, or when they are yet to build.

    Raises:
        Invalid: as `build_int8_graph`.
    """
    if not (directory / GRAPH_FILE).exists():
        return ""
    for name, data in _expected(directory).items():
        if not holds(directory / name, data):
            return f"{name} is not what the model's files make; the next use makes it anew"
    return ""


def _expected(directory: Path) -> dict[str, bytes]:
    """Give the files, weights first: a graph is never there without them."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    source = directory / _WEIGHTS
    made: list[Int8Builder] = []

    def make(*arguments: Any, **keywords: Any) -> Builder:
        made.append(Int8Builder(*arguments, source=source, **keywords))
        return made[0]

    graph = encode_graph(config, read_header(source), make=make)
    return {WEIGHTS_FILE: bytes(made[0].weights), GRAPH_FILE: graph}
