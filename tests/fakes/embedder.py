"""A fake embedder: hashed words instead of a model, for tests that need no meaning.

Same text, same vector; texts that share words are near. It satisfies search's ``Embedder``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np


class FakeEmbedding(NamedTuple):
    """What search reads of an embedding."""

    vectors: Any
    model: str


class HashingEmbedder:
    """Adds a fixed pseudo-random direction for every word, then normalises."""

    def __init__(self, dimensions: int = 384, model: str = "fake-hashing") -> None:
        self.dimensions = dimensions
        self.model = model
        self.texts: list[str] = []
        """Every text that was ever asked for, in order."""

    async def embed(
        self, texts: Sequence[str], *, model: str, priority: Literal["interactive", "batch"]
    ) -> FakeEmbedding:
        self.texts += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                vectors[row] += self._direction(word)
            vectors[row] /= np.linalg.norm(vectors[row])
        return FakeEmbedding(vectors, self.model)

    def _direction(self, word: str) -> Any:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
