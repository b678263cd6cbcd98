"""Models as the Open Inference Protocol sees them: which tensors go in, which come out.

A model of text reads a tensor ``text`` of BYTES, one of bytes (image, sound, file) a tensor
``data`` of BYTES; a graph has its own tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Array, Input, Result
from stackctl_daemon.inference.apis.onnx_signature import Signature
from stackctl_daemon.inference.apis.openai import MAX_INPUTS

TEXT_TASKS = frozenset({"embedding", "rerank", "generation"})
VALUE = "value"


class TensorMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a model; -1: any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def metadata(
    entry: ModelEntry, versions: Sequence[str], signature: Signature | None = None
) -> ModelMetadata:
    """Describe a model by its entry, a graph that is asked for its own tensors by these."""

    def tensor(name: str, datatype: str, *shape: int) -> TensorMetadata:
        return TensorMetadata(name=name, datatype=datatype, shape=list(shape))

    inputs = [tensor("text" if entry.task in TEXT_TASKS else "data", "BYTES", -1)]
    outputs = [tensor(VALUE, "BYTES", -1)]
    if entry.task in ("embedding", "image-embedding", "image-text-embedding"):
        outputs = [tensor("embedding", "FP32", -1, entry.dimensions or -1)]
    if entry.task == "image-text-embedding":
        inputs.append(tensor("text", "BYTES", -1))
    if entry.task == "rerank":
        inputs.append(tensor("query", "BYTES", 1))
        outputs = [tensor("score", "FP32", -1)]
    if signature is not None:
        inputs, outputs = (
            [tensor(v.name, v.datatype, *v.shape) for v in values if v.datatype]
            for values in signature
        )
    return ModelMetadata(
        name=entry.family,
        versions=list(versions),
        platform="numpy" if entry.architecture == "files" else "onnxruntime_onnx",
        inputs=inputs,
        outputs=outputs,
    )


def inputs_of(
    entry: ModelEntry, tensors: Mapping[str, Array]
) -> tuple[list[Input], dict[str, Any]]:
    """Turn tensors into the inputs of a model, and options.

    Raises:
        Invalid: a tensor is missing, unknown, of another type or shape.
    """
    if entry.task == "tensor":
        strings = [name for name, value in tensors.items() if value.dtype.kind == "O"]
        if strings:
            raise Invalid(f'input "{strings[0]}" is of BYTES, which a graph cannot take')
        return [Input(tensors=dict(tensors))], {}
    left = dict(tensors)
    options: dict[str, Any] = {}
    if entry.task == "rerank":
        options["query"] = _text(_column(entry, left, "query")[0], "query")
    name = "text" if entry.task in TEXT_TASKS else "data"
    if entry.task == "image-text-embedding" and "text" in left:
        name = "text"
    items = _column(entry, left, name)
    if left:
        raise Invalid(f'model "{entry.name}" has no input "{next(iter(left))[:80]}"')
    if name == "data":
        return [Input(data=item) for item in items], options
    return [Input(text=_text(item, name)) for item in items], options


def _column(entry: ModelEntry, tensors: dict[str, Array], name: str) -> list[bytes]:
    found = tensors.pop(name, None)
    if found is None:
        raise Invalid(f'model "{entry.name}" wants the input "{name}" of BYTES')
    if found.dtype.kind != "O":
        raise Invalid(f'input "{name}" is of {found.dtype}, expected BYTES')
    if found.ndim > 2 or (found.ndim == 2 and found.shape[1] != 1):
        raise Invalid(f'input "{name}" has the shape {list(found.shape)}, expected [-1]')
    items: list[bytes] = found.reshape(-1).tolist()
    if not 1 <= len(items) <= MAX_INPUTS:
        raise Invalid(f'input "{name}" has {len(items)} elements, expected 1 to {MAX_INPUTS}')
    return items


def _text(item: bytes, name: str) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError as err:
        raise Invalid(f'input "{name}" holds a string that is not UTF-8') from err


def outputs_of(entry: ModelEntry, results: Sequence[Result]) -> dict[str, Array]:
    """Turn results into tensors, one row a result; values become BYTES of JSON.

    Raises:
        Failed: the results' tensors differ in name or shape, so that they make no rows.
    """
    if entry.task == "tensor":
        return dict(results[0].tensors or {})
    found: dict[str, Array] = {}
    if entry.task == "rerank":
        scores = [float(result.value["score"]) for result in results]
        return {"score": np.asarray(scores, np.float32)}
    names = set(results[0].tensors or {})
    for name in sorted(names):
        rows = [(result.tensors or {}).get(name) for result in results]
        shapes = {None if row is None else row.shape for row in rows}
        if None in shapes or len(shapes) != 1:
            raise Failed(f'model "{entry.name}" gave an output "{name}" of several shapes')
        found[name] = np.stack([row for row in rows if row is not None])
    if any(result.value is not None for result in results):
        values = np.empty(len(results), object)
        values[:] = [msgspec.json.encode(result.value) for result in results]
        found[VALUE] = values
    return found
