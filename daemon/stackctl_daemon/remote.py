"""Areas of other processes behind the Protocols of this one; refuses to fall back silently."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stackctl.contracts.inference import EmbedReply, EmbedRequest
from stackctl.errors import BadConfig, Failed
from stackctl_daemon.http import outbound

MAX_TEXTS = 2048
MAX_BYTES = 768 << 10
"""Text in one request; the route's cap is 1 MiB, and JSON escapes take some of it."""
TIMEOUT_S = 120.0


class RemoteEmbedding(NamedTuple):
    """Vectors of some texts."""

    vectors: Any
    model: str


class RemoteEmbedder:
    """Embeds through ``POST /v1/embed`` of another stackctld."""

    def __init__(self, socket_path: str) -> None:
        self._path = Path(socket_path) if socket_path else None

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        priority: Literal["interactive", "batch"] = "interactive",
    ) -> RemoteEmbedding:
        """Embed any number of texts, in order.

        Raises:
            BadConfig: ``STACKCTL_INFERENCE_SOCKET`` is not set.
            Unreachable, TimedOut, Overloaded, NotFound: as the other daemon says.
        """
        # Deferred: 100 ms that only this target needs, and only when it embeds.
        import numpy as np

        if self._path is None:
            raise BadConfig(
                "this target needs the socket of an inference daemon",
                hint="export STACKCTL_INFERENCE_SOCKET=/run/stackctl/inference.sock",
            )
        parts, name = [], model
        for batch in _batches(texts):
            request = EmbedRequest(texts=batch, model=model, priority=priority)
            reply = await outbound.call(
                self._path, "POST", "/v1/embed", request, EmbedReply, timeout_s=TIMEOUT_S
            )
            if reply.count != len(batch):
                raise Failed(f"asked for {len(batch)} vectors, got {reply.count}")
            rows = np.frombuffer(base64.b64decode(reply.vectors), dtype="<f4")
            parts.append(rows.reshape(reply.count, reply.dimensions))
            name = reply.model
        vectors = np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
        return RemoteEmbedding(np.ascontiguousarray(vectors, dtype=np.float32), name)


def _batches(texts: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    size = MAX_BYTES
    for text in texts:
        cost = len(text.encode()) + 8
        if size + cost > MAX_BYTES or len(batches[-1]) >= MAX_TEXTS:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += cost
    return batches
