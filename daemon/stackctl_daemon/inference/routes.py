"""HTTP of the inference area; refuses to decide anything but the size of a request."""

from __future__ import annotations

import base64

from stackctl.contracts.inference import EmbedReply, EmbedRequest
from stackctl.errors import Invalid, ModelCorrupt, NotFound, Overloaded, WorkerCrashed
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.inference.service import InferenceService

MAX_TEXTS = 2048


def routes(service: InferenceService) -> list[Route]:
    """Give the routes of the inference area."""

    async def embed(request: Request) -> Reply:
        body: EmbedRequest = request.body
        if not 1 <= len(body.texts) <= MAX_TEXTS:
            raise Invalid(f"{len(body.texts)} texts, expected 1 to {MAX_TEXTS}")
        done = await service.embed_texts(body.texts, model=body.model, priority=body.priority)
        return Reply(
            EmbedReply(
                model=done.model,
                dimensions=done.vectors.shape[1],
                count=len(done.vectors),
                vectors=base64.b64encode(done.vectors.tobytes()).decode(),
                tokens=done.tokens,
                truncated=done.truncated,
                device=done.device,
                execution_provider=done.execution_provider,
                queue_s=done.queue_s,
                compute_s=done.compute_s,
            )
        )

    return [
        Route(
            name="inference.embed",
            method="POST",
            path="/v1/embed",
            permission="operate",
            handler=embed,
            summary="Turn texts into vectors.",
            body=EmbedRequest,
            reply=EmbedReply,
            errors=(NotFound, ModelCorrupt, Overloaded, WorkerCrashed),
            max_body_bytes=16 << 20,
            timeout_s=600,
        )
    ]
