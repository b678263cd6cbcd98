"""What search needs of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol


class Embedding(NamedTuple):
    """Vectors of some texts."""

    vectors: Any
    """``(count, dimensions)`` float32 numpy array, L2-normalised rows, C order."""
    model: str
    """Canonical name of the model that made them."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(
        self, texts: Sequence[str], *, model: str, priority: Literal["interactive", "batch"]
    ) -> Embedding:
        """Embed any number of texts, in order.

        Raises:
            Overloaded: the queue is full; the caller waits ``retry_after_s`` and tries again.
            NotFound: the model is not here.
        """
        ...
