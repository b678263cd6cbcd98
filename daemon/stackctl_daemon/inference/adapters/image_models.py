"""Models that read one picture: classes or a vector; refuses to know any model by name.

Pictures become tensors by the options of `image_input`. Beside those:

``output``
    Name of the graph's output; left out, its first.
``tap``
    Name of a value inside the graph to give instead: a classifier's last layer before the
    classes is an embedding.
``labels``, ``labels_file``
    Names of the classes, in order, or a file of the model with one a line.
``activation``
    ``none`` (the graph gives probabilities), ``softmax`` or ``sigmoid``.
``top_k``
    Classes in a result, 5; a request may ask for another number.
``batch``
    Pictures that are computed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import (
    Array,
    Decoding,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.image import Pixels, image_bytes
from stackctl_daemon.inference.adapters.image_input import ImageInput
from stackctl_daemon.inference.adapters.option import check_known, read_int

_ACTIVATIONS = ("none", "softmax", "sigmoid")


class _Image(NamedTuple):
    pixels: Pixels
    top_k: int


class _ImageModel(Decoding):
    """A graph with one input, a picture."""

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.graph is None:
            raise Failed(f'model "{spec.name}" has no graph, expected architecture = "onnx"')
        self._input = ImageInput(spec.options, spec.name)
        tap = str(spec.options.get("tap", ""))
        self._session = open_session(spec.graph, outputs=[tap] if tap else None)
        self._name = next(iter(self._session.inputs))
        self._output = tap or str(spec.options.get("output", self._session.outputs[0]))
        if self._output not in self._session.outputs:
            raise Failed(
                f'model "{spec.name}" has no output "{self._output}", it has'
                f" {', '.join(self._session.outputs)}"
            )

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Decode and resize pictures.

        Raises:
            Invalid: an input is not a picture, or an option is not one.
        """
        top_k = self._top_k(options)
        for index, data in enumerate(image_bytes(inputs, self.spec.name)):
            yield Unit(1, _Image(self._input.read(data, f"input {index}"), top_k))

    def _top_k(self, options: Mapping[str, Any]) -> int:
        check_known(self.spec.name, options, ())
        return 0

    def _run(self, units: Sequence[Unit]) -> Array:
        images = [unit.payload.pixels for unit in units]
        feed = {self._name: self._input.feed(self._session, self._name, images)}
        [found] = self._session.run([self._output], feed)
        values = found.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
        return values


class ImageClassification(_ImageModel):
    """A picture to the classes that it most likely shows."""

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        self._labels = _labels(spec)
        self._activation = str(spec.options.get("activation", "none"))
        if self._activation not in _ACTIVATIONS:
            raise Failed(
                f'model "{spec.name}": activation = "{self._activation}", known:'
                f" {', '.join(_ACTIVATIONS)}"
            )
        self._default_k = int(spec.options.get("top_k", 5))

    def _top_k(self, options: Mapping[str, Any]) -> int:
        check_known(self.spec.name, options, ("top_k",))
        return read_int(options, "top_k", self._default_k, low=1, high=10_000)

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give ``{"label", "score", "labels": [{"label", "score"}]}``, the likeliest first.

        Raises:
            Failed: the model does not give one number a label.
        """
        scores = _activate(self._run(units).reshape(len(units), -1), self._activation)
        labels = self._labels or [str(index) for index in range(scores.shape[1])]
        if scores.shape[1] != len(labels):
            raise Failed(
                f'model "{self.spec.name}" gave {scores.shape[1]} scores, its entry has'
                f" {len(labels)} labels"
            )
        results = []
        for row, unit in zip(scores, units, strict=True):
            order = np.argsort(-row, kind="stable")[: unit.payload.top_k]
            best = [{"label": labels[i], "score": float(row[i])} for i in order]
            results.append(Result({**best[0], "labels": best}))
        return results


class ImageEmbedding(_ImageModel):
    """A picture to one L2-normalised vector.

    A graph that gives a vector a patch is pooled by the option ``pooling``: ``cls`` takes the
    first, ``mean`` all.
    """

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        self.rows = spec.dimensions
        self._pooling = str(spec.options.get("pooling", "cls"))

    def compute(self, units: Sequence[Unit]) -> list[FloatArray]:
        """Give ``(dimensions,)`` float32 of length 1 for each picture.

        Raises:
            Failed: the model gave something else.
        """
        found = self._run(units)
        if found.ndim == 3:
            found = found[:, 0] if self._pooling == "cls" else found.mean(1)
        return list(unit_rows(found.reshape(len(units), -1), self.spec))


def unit_rows(vectors: Array, spec: ModelSpec) -> FloatArray:
    """Divide each row by its length.

    Raises:
        Failed: it is not as wide as the entry says, or holds numbers that are not finite.
    """
    if vectors.shape[1] != spec.dimensions:
        raise Failed(
            f'model "{spec.name}" gave vectors of {vectors.shape[1]}, its entry says'
            f" {spec.dimensions}"
        )
    rows = vectors.astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        raise Failed(f'model "{spec.name}" gave numbers that are not finite')
    length = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found: FloatArray = (rows / length).astype("<f4", copy=False)
    return found


def _labels(spec: ModelSpec) -> list[str]:
    if "labels_file" in spec.options:
        file = spec.file("labels_file", "")
        try:
            return file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as err:
            raise Failed(f'model "{spec.name}": no labels in {file}: {err}') from err
    return [str(label) for label in spec.options.get("labels", ())]


def _activate(values: Array, how: str) -> Array:
    if how == "softmax":
        raised = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True))
    if how == "sigmoid":
        return np.asarray(0.5 * (np.tanh(0.5 * values) + 1.0))  # no overflow
    return values
