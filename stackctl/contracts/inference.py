"""Inference: texts in, vectors out; any input in, results out."""

from __future__ import annotations

from typing import Any, Literal

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


class RunInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input: a text, or bytes (an image, a sound, a file), or named tensors."""

    text: str | None = None
    data: str | None = None
    """Base64."""
    tensors: list[TensorData] | None = None


class TensorData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tensor on the wire."""

    name: str
    dtype: str
    """As numpy writes it: ``<f4``, ``<i8``, ``|u1``."""
    shape: list[int]
    data: str
    """Base64 of its bytes, C order, little-endian."""


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run a model on inputs of one kind."""

    inputs: list[RunInput]
    """1 to 2,048."""
    options: dict[str, Any] = {}
    """The model kind's own, such as ``max_new_tokens``."""
    priority: Literal["interactive", "batch"] = "interactive"
    timeout_s: float = 0.0
    """After which the answer is of no use; 0: the route's own."""
    stream: bool = False
    """Answer with a line a piece (`RunPart`); for one input of a model that streams."""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one input gave."""

    value: Any = None
    """Of JSON; its shape is the model kind's."""
    tensors: list[TensorData] = []


class RunReply(msgspec.Struct, frozen=True, kw_only=True):
    """Results, one an input, in order."""

    model: str
    task: str
    items: list[RunResult]
    tokens: int
    truncated: int
    device: str
    execution_provider: str
    queue_s: float
    """In the queue of the device."""
    batch_s: float
    """In batches, beyond its own share of them."""
    compute_s: float
    """Its share of the batches that it was in."""


class RunPart(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a streamed answer: pieces, then the whole reply."""

    value: Any = None
    reply: RunReply | None = None
