"""Areas of other processes behind the Protocols of this one; refuses to fall back silently."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stackctl.contracts.inference import EmbedReply, EmbedRequest
from stackctl.errors import BadConfig, Failed, Unreachable
from stackctl_daemon.clock import Clock, SystemClock
from stackctl_daemon.http import outbound

log = logging.getLogger(__name__)

MAX_TEXTS = 2048
MAX_BYTES = 768 << 10
"""Text in one request; the route's cap is 1 MiB, and JSON escapes take some of it."""
TIMEOUT_S = 120.0
PATIENCE_S = 30.0
"""How long a job waits for a daemon that is gone: a supervisor starts it again in seconds."""
RETRY_S = 0.5


class RemoteEmbedding(NamedTuple):
    """Vectors of some texts."""

    vectors: Any
    model: str


class RemoteEmbedder:
    """Embeds through ``POST /v1/embed`` of another stackctld."""

    def __init__(self, socket_path: str, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._path = Path(socket_path) if socket_path else None

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        priority: Literal["interactive", "batch"] = "interactive",
    ) -> RemoteEmbedding:
        """Embed any number of texts, in order.

        A job (``batch``) outlives a restart of the other daemon: what it asked for is asked
        again for `PATIENCE_S`, since an embedding changes nothing there. A person is told at
        once.

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
            reply = await self._ask(
                self._path, request, PATIENCE_S if priority == "batch" else 0.0
            )
            if reply.count != len(batch):
                raise Failed(f"asked for {len(batch)} vectors, got {reply.count}")
            rows = np.frombuffer(base64.b64decode(reply.vectors), dtype="<f4")
            parts.append(rows.reshape(reply.count, reply.dimensions))
            name = reply.model
        vectors = np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
        return RemoteEmbedding(np.ascontiguousarray(vectors, dtype=np.float32), name)

    async def _ask(self, path: Path, request: EmbedRequest, patience_s: float) -> EmbedReply:
        began_s = self._clock.monotonic_s()
        while True:
            try:
                return await outbound.call(
                    path, "POST", "/v1/embed", request, EmbedReply, timeout_s=TIMEOUT_S
                )
            except Unreachable as err:
                if self._clock.monotonic_s() - began_s >= patience_s:
                    raise
                log.warning("inference_unreachable error=%s", err.message)
            await self._clock.sleep(RETRY_S)


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
