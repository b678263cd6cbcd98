"""Inference: texts in, vectors out."""

from __future__ import annotations

from typing import Literal

import msgspec


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Embed texts with a model."""

    texts: list[str]
    """1 to 2,048 texts; one longer than the model's window is cut and counted as truncated."""
    model: str = "default"
    priority: Literal["interactive", "batch"] = "interactive"


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of the texts, in order."""

    model: str
    dimensions: int
    count: int
    vectors: str
    """Base64 of ``count * dimensions`` float32, little-endian, L2-normalised rows."""
    tokens: int
    truncated: int
    device: str
    execution_provider: str
    queue_s: float
    compute_s: float
