"""Models of an inference fault run: real ones, tiny ones, and what each must answer.

What is expected is computed here, by the adapters in this process, one input at a time: nothing
of the daemon, its batches or its workers has a part in it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from inference_stack import CACHE, model_service, sentences
from onnx import TensorProto, helper, numpy_helper

from stackctl.contracts.model import ModelEntry, ModelFile
from stackctl.errors import NotFound
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.models.catalogue import to_toml

MINILM, STATIC, FILE_TYPE = "all-minilm-l6-v2", "wordllama-256", "magika"
LINEAR, BALLOON, UNKNOWN = "tiny-linear", "tiny-balloon", "tiny-unknown"
VICTIMS = ("tiny-victim-0", "tiny-victim-1", "tiny-victim-2")
STATIC_VICTIM = "static-victim"
"""The static embedding again, to be damaged: its table is mapped, so a cut kills the worker."""
TOLERANCE = 1e-4
"""Batches of another padding differ by 2e-5; the nearest two texts here by more than 1e-2."""
_ROWS, _IN, _OUT = 40, 8, 4
_PROGRAM = b"def f(x):\n    return [y * 2 for y in x if y]\n"

Check = Callable[[Any], str]
"""Of a reply's body; gives what is wrong with it, in words."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request and what its answer must be."""

    model: str
    path: str
    body: dict[str, Any]
    check: Check
    count: int


class Models:
    """The models in a home, and questions to them."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "data" / "models"
        self._entries = home / "config" / "models"
        self._entries.mkdir(parents=True, exist_ok=True)
        self.texts = sentences(60)
        self._blobs = [_PROGRAM * n for n in (3, 40)] + [b"%PDF-1.7\n" * 30, b"\x7fELF" * 400]
        rng = np.random.default_rng(11)
        self._rows = rng.normal(size=(_ROWS, _IN)).astype(np.float32)
        self._weights: dict[str, npt.NDArray[np.float32]] = {}
        asyncio.run(self._provide())
        for name in (LINEAR, *VICTIMS):
            self._weights[name] = rng.normal(size=(_IN, _OUT)).astype(np.float32)
            self._add(name, _linear(self._weights[name]), batch=16)
        self._add(BALLOON, _balloon())
        self._add(UNKNOWN, _unknown())

    def some(self, rng: random.Random) -> Question:
        """Give a question to a model that nobody damages."""
        model = rng.choice((MINILM, MINILM, STATIC, STATIC, FILE_TYPE, LINEAR))
        if model in (MINILM, STATIC):
            return self.embedding(model, rng.choices(range(60), k=rng.randint(1, 12)), rng=rng)
        if model == LINEAR:
            return self.linear(model, rng)
        return self._file_type([rng.randrange(len(self._blobs)) for _ in range(3)])

    def embedding(
        self, model: str, which: Sequence[int], *, rng: random.Random | None = None
    ) -> Question:
        """Ask for the vectors of texts by number."""
        expected = self._vectors[STATIC if model == STATIC_VICTIM else model][list(which)]

        def check(reply: Any) -> str:
            flat = np.frombuffer(base64.b64decode(reply["vectors"]), "<f4")
            if flat.size != expected.size:
                return f"{flat.size} numbers, expected {expected.size}"
            return _differs(flat.reshape(expected.shape), expected)

        priority = rng.choice(("interactive", "batch")) if rng else "interactive"
        texts = [self.texts[i] for i in which]
        body = {"texts": texts, "model": model, "priority": priority}
        return Question(model, "/v1/embed", body, check, len(texts))

    def timed(self, timeout_s: float) -> Question:
        """Ask for the vectors of many texts in little time."""
        which = [i % 60 for i in range(120)]
        expected = self._vectors[MINILM][which]

        def check(reply: Any) -> str:
            found = [_array(item["tensors"][0]) for item in reply["items"]]
            return _differs(np.stack(found).reshape(expected.shape), expected)

        body = {"inputs": [{"text": self.texts[i]} for i in which], "timeout_s": timeout_s}
        return Question(MINILM, f"/v1/models/{MINILM}/run", body, check, len(which))

    def linear(self, model: str, rng: random.Random) -> Question:
        """Ask a linear graph for a few inputs of a few rows each."""
        given = [self._rows[rng.choices(range(_ROWS), k=rng.randint(1, 4))] for _ in range(3)]
        expected = [rows @ self._weights[model] for rows in given]

        def check(reply: Any) -> str:
            found = [_array(item["tensors"][0]) for item in reply["items"]]
            if [f.shape for f in found] != [e.shape for e in expected]:
                return f"shapes {[f.shape for f in found]}"
            return _differs(np.concatenate(found), np.concatenate(expected))

        body = {"inputs": [{"tensors": [_tensor("x", rows)]} for rows in given]}
        return Question(model, f"/v1/models/{model}/run", body, check, len(given))

    def balloon(self, megabytes: int) -> Question:
        """Ask for a graph that takes so much memory while it runs."""
        size = np.array([megabytes * 250_000], np.int64)

        def check(reply: Any) -> str:
            tensors = {t["name"]: _array(t) for t in reply["items"][0]["tensors"]}
            found = (tensors["echo"].tolist(), float(tensors["peak"].ravel()[0]))
            return "" if found == (size.tolist(), 1.0) else f"gave {found}"

        body = {"inputs": [{"tensors": [_tensor("size", size)]}]}
        return Question(BALLOON, f"/v1/models/{BALLOON}/run", body, check, 1)

    def unknown(self) -> Question:
        """Ask a graph with an operator that does not exist."""
        body = {"inputs": [{"tensors": [_tensor("x", self._rows[:1])]}]}
        return Question(UNKNOWN, f"/v1/models/{UNKNOWN}/run", body, lambda _: "answered", 1)

    def _file_type(self, which: Sequence[int]) -> Question:
        expected = [self._types[i] for i in which]

        def check(reply: Any) -> str:
            found = [item["value"]["label"] for item in reply["items"]]
            return "" if found == expected else f"{found}, expected {expected}"

        blobs = [base64.b64encode(self._blobs[i]).decode() for i in which]
        body = {"inputs": [{"data": data} for data in blobs]}
        return Question(FILE_TYPE, f"/v1/models/{FILE_TYPE}/run", body, check, len(which))

    async def _provide(self) -> None:
        """Copy the real models into the home and compute what they must answer."""
        service = model_service()
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        for name in (MINILM, STATIC, FILE_TYPE):
            try:
                ready = await service.ready(name)
            except NotFound:
                await service.pull(name)
                ready = await service.ready(name)
            shutil.copytree(CACHE / "models" / name, self.directory / name)
            entry = ready.entry
            spec = ModelSpec(name, ready.directory, ready.graph, ready.tokenizer,
                             entry.max_tokens, entry.dimensions, entry.options)  # fmt: skip
            adapter = open_adapter(entry.adapter, spec, DevicePolicy("cpu").open)
            if name == FILE_TYPE:
                units = adapter.prepare([Input(data=blob) for blob in self._blobs], {})
                found: list[Any] = [adapter.compute([unit])[0] for unit in units]
                self._types = [result.value["label"] for result in found]
            else:
                units = adapter.prepare([Input(text=text) for text in self.texts], {})
                rows: list[Any] = [adapter.compute([unit])[0] for unit in units]
                self._vectors[name] = np.stack(rows)
            if name == STATIC:
                source, target = CACHE / "models" / name, self.directory / STATIC_VICTIM
                shutil.copytree(source, target)
                self._write(_renamed(entry, STATIC_VICTIM))

    def _add(self, name: str, model: onnx.ModelProto, *, batch: int = 1) -> None:
        folder = self.directory / name
        folder.mkdir(parents=True)
        data = model.SerializeToString()
        (folder / "model.onnx").write_bytes(data)
        file = ModelFile(name="model.onnx", sha256=hashlib.sha256(data).hexdigest(),
                         size_bytes=len(data), sources=[])  # fmt: skip
        entry = ModelEntry(
            name=name, task="tensor", summary="made for a fault run", licence="Apache-2.0",
            architecture="onnx", adapter="tensor-graph", files=[file], options={"batch": batch},
        )  # fmt: skip
        self._write(entry)

    def _write(self, entry: ModelEntry) -> None:
        (self._entries / f"{entry.name}.toml").write_text(to_toml(entry))


def _renamed(entry: ModelEntry, name: str) -> ModelEntry:
    fields = {field: getattr(entry, field) for field in entry.__struct_fields__}
    return ModelEntry(**fields | {"name": name, "aliases": []})


def _differs(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    off = np.abs(found - expected).max(axis=-1)
    wrong = np.flatnonzero(~(off <= TOLERANCE))
    return f"rows {wrong.tolist()} are off by up to {off.max():.3g}" if wrong.size else ""


def _array(tensor: dict[str, Any]) -> npt.NDArray[Any]:
    raw = np.frombuffer(base64.b64decode(tensor["data"]), tensor["dtype"])
    return raw.reshape(tensor["shape"])


def _tensor(name: str, value: npt.NDArray[Any]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"name": name, "dtype": value.dtype.str, "shape": list(value.shape), "data": data}


def _linear(weights: npt.NDArray[np.float32]) -> onnx.ModelProto:
    return _model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", _IN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", _OUT])],
        [numpy_helper.from_array(weights, "w")],
    )


def _balloon() -> onnx.ModelProto:
    one = numpy_helper.from_array(np.array([1], np.float32))
    return _model(
        [
            helper.make_node("ConstantOfShape", ["size"], ["filled"], value=one),
            helper.make_node("ReduceMax", ["filled"], ["peak"], keepdims=0),
            helper.make_node("Identity", ["size"], ["echo"]),
        ],
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [
            helper.make_tensor_value_info("peak", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("echo", TensorProto.INT64, [1]),
        ],
        [],
    )


def _unknown() -> onnx.ModelProto:
    return _model(
        [helper.make_node("Nonesuch", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", _IN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", _OUT])],
        [],
    )


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "fault", inputs, outputs, weights)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)
