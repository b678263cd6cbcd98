"""Transformer encoders that turn a text into one vector; refuses to batch.

The only importer of tokenizers is `Tokenizer` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Texts,
    Unit,
    packs,
)
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer
from stackctl_daemon.inference.adapters.vector_option import cut, read_dimensions, read_tokens
from stackctl_daemon.inference.providers import text_profiles


class Wanted(NamedTuple):
    """A text made ready, and how much of its vector is asked for."""

    ids: list[int]
    dimensions: int


class TextEmbedding(Texts, Adapter):
    """Token ids to L2-normalised rows of float32.

    Options of a request: `vector_option`.
    """

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None or spec.graph is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json or no graph')
        self._tokenizer = Tokenizer(spec.tokenizer, spec.max_tokens)
        profiles = text_profiles(
            ("input_ids", "attention_mask", "token_type_ids"),
            max_tokens=spec.max_tokens,
            budget=int(spec.options.get("batch_tokens", 16_384)),
        )
        self._session = open_session(spec.graph, profiles=profiles)
        self.packed = packs(self._session)
        self.rows = spec.dimensions
        self._pooled = "sentence_embedding" in self._session.outputs
        self._output = "sentence_embedding" if self._pooled else self._session.outputs[0]

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Turn texts into token ids, cut to the model's window; see `vector_option`."""
        wanted = read_dimensions(self.spec, options)
        return [
            Unit(len(t.ids), Wanted(t.ids, wanted), len(t.ids), t.truncated)
            for t in read_tokens(self.spec, self._tokenizer, inputs, options)
        ]

    def width(self, options: Mapping[str, Any]) -> int:
        """Give the numbers of a vector."""
        return read_dimensions(self.spec, options)

    def compute(self, units: Sequence[Unit]) -> FloatArray | list[FloatArray]:
        """Give L2-normalised rows of float32: an array, or rows of the lengths asked for.

        Raises:
            Failed: the model did not give finite numbers.
        """
        vectors = self._vectors(units)
        wanted = [unit.payload.dimensions for unit in units]
        if min(wanted) == self.rows:
            return vectors
        return [cut(row, size) for row, size in zip(vectors, wanted, strict=True)]

    def budget(self, batch_tokens: int) -> int:
        """Give the padded tokens of a batch."""
        return batch_tokens

    def _vectors(self, units: Sequence[Unit]) -> FloatArray:
        width = max(unit.cost for unit in units)
        ids = np.zeros((len(units), width), np.int64)
        mask = np.zeros_like(ids)
        for row, unit in enumerate(units):
            ids[row, : unit.cost] = unit.payload.ids
            mask[row, : unit.cost] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        kept = {name: feed[name] for name in self._session.inputs if name in feed}
        [found] = self._session.run([self._output], kept)
        vectors: FloatArray = found.astype("<f4", copy=False)
        if not self._pooled and vectors.ndim == 3:
            vectors = mean_pool(vectors, mask)
        if not np.isfinite(vectors).all():
            raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
        if vectors.shape[1] != self.rows:
            raise Failed(
                f'model "{self.spec.name}" gave vectors of {vectors.shape[1]}, its entry says'
                f" {self.rows}"
            )
        return vectors


def mean_pool(hidden: FloatArray, mask: npt.NDArray[np.int64]) -> FloatArray:
    """Mean over the tokens, then L2, for graphs that do neither."""
    column = mask[:, :, None].astype(np.float32)
    mean = (hidden * column).sum(1) / np.maximum(column.sum(1), 1)
    length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    pooled: FloatArray = (mean / length).astype("<f4", copy=False)
    return pooled
