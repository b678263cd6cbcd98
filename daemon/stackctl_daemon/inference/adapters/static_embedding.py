"""Static embeddings: a table of token vectors, averaged; refuses to open a graph.

The table stays mapped from its safetensors: workers share its pages, and only the rows in use
are read.
Source: wordllama 0.4.0 (Miller 2024), ``WordLlamaInference.embed(norm=True)``: no special
tokens, no window, mean of the rows, L2. Where it divides by zero, at a text of no tokens, the
vector here is zero, which is like nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    Array,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Texts,
    Unit,
)
from stackctl_daemon.inference.adapters.text_embedding import Wanted
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer
from stackctl_daemon.inference.adapters.vector_option import cut, read_dimensions, read_tokens

_BATCH_TOKENS = 1 << 14  # rows of a batch, 256 wide: 16 MiB
_DTYPES = {"F16": "<f2", "F32": "<f4"}


class StaticEmbedding(Texts, Adapter):
    """Token ids to L2-normalised rows of float32.

    Options of an entry: ``weights``, a safetensors file; ``tensor``, the table's name in it;
    ``matryoshka``. Options of a request: `vector_option`.
    """

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json')
        self._tokenizer = Tokenizer(spec.tokenizer, spec.max_tokens, special=False)
        weights = spec.file("weights", "model.safetensors")
        self._table = map_table(weights, str(spec.options.get("tensor", "embedding.weight")))
        self.rows = spec.dimensions
        expected = (self._tokenizer.size, spec.dimensions)
        if self._table.shape != expected:
            raise Failed(
                f"{weights} has a table of {list(self._table.shape)}, the tokenizer and the"
                f' entry of "{spec.name}" say {list(expected)}'
            )

    @property
    def execution_provider(self) -> str:
        """It is numpy that runs it."""
        return "numpy"

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Turn texts into token ids; see `vector_option`."""
        wanted = read_dimensions(self.spec, options)
        return [
            Unit(max(1, len(t.ids)), Wanted(t.ids, wanted), len(t.ids), t.truncated)
            for t in read_tokens(self.spec, self._tokenizer, inputs, options)
        ]

    def width(self, options: Mapping[str, Any]) -> int:
        """Give the numbers of a vector."""
        return read_dimensions(self.spec, options)

    def compute(self, units: Sequence[Unit]) -> FloatArray | list[FloatArray]:
        """Give L2-normalised rows of float32: an array, or rows of the lengths asked for."""
        counts = np.array([len(unit.payload.ids) for unit in units], np.int64)
        vectors = np.zeros((len(units), self.rows), np.float32)
        full = counts > 0
        if full.any():
            ids = np.concatenate([np.array(unit.payload.ids, np.int64) for unit in units])
            starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[full]
            rows = self._table[ids].astype(np.float32)
            vectors[full] = np.add.reduceat(rows, starts, axis=0) / counts[full, None]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(lengths, 1e-12)
        if not np.isfinite(vectors).all():
            raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
        if all(unit.payload.dimensions == self.rows for unit in units):
            return vectors
        return [
            cut(row, unit.payload.dimensions) for row, unit in zip(vectors, units, strict=True)
        ]

    def budget(self, batch_tokens: int) -> int:
        """Give the tokens of a batch: nothing is padded, so only memory bounds it."""
        return max(batch_tokens, _BATCH_TOKENS)


def map_table(file: Path, tensor: str) -> Array:
    """Map a matrix of a safetensors file, read-only.

    Source: https://github.com/huggingface/safetensors, section "Format".

    Raises:
        Failed: the file is not sound, or has no such matrix of 16 or 32 bit floats.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, file.stat().st_size)))
        if tensor not in header:
            raise ValueError(f'no tensor "{tensor}", it has {", ".join(header)}')
        item = header[tensor]
        rows, columns = item["shape"]
        start, end = item["data_offsets"]
        dtype = np.dtype(_DTYPES[item["dtype"]])
        if end - start != rows * columns * dtype.itemsize:
            raise ValueError(f"{end - start} bytes of {item['dtype']} {item['shape']}")
        return np.memmap(file, dtype, "r", 8 + length + start, (rows, columns))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as err:
        raise Failed(f"{file} is not a table of vectors: {err}") from err
