"""Rerank as Cohere and Jina spell it: a query and documents in, scores out, best first.

Sources: Cohere's rerank, v1 and v2; Jina's reranker API. A reranker scores as it was trained to;
an embedding model is asked too, and scores by the cosine of query and document.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from stackctl.errors import Invalid, StackctlError
from stackctl_daemon.http.registry import ErrorShape, Reply, Request, Route
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.apis.account import Statistics
from stackctl_daemon.inference.apis.openai import BOTH, MAX_INPUTS, RAISED
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.service import InferenceService


class RerankError(msgspec.Struct, frozen=True, kw_only=True):
    """An error: Cohere's clients read ``message``, Jina's ``detail``."""

    id: str
    message: str
    detail: str


def _error(error: StackctlError, request_id: str, status: int) -> RerankError:
    text = error.message + (f" (fix: {error.hint})" if error.hint else "")
    return RerankError(id=request_id, message=text, detail=text)


ERRORS = ErrorShape(_error, RerankError)


class Document(msgspec.Struct, frozen=True):
    """A document as an object."""

    text: str


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query and what to sort by it."""

    query: str
    documents: list[str | Document]
    """1 to 2,048."""
    model: str = "default"
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None


class RerankResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document's place."""

    index: int
    """In the request."""
    relevance_score: float
    document: Document | None = None


class RerankUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were read, as Jina counts them."""

    total_tokens: int


class RerankReply(msgspec.Struct, frozen=True, kw_only=True):
    """Documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: dict[str, dict[str, int]]
    """As Cohere has it: tokens that were read."""


def routes(service: InferenceService, statistics: Statistics) -> list[Route]:
    """Give the routes."""

    async def rerank(request: Request) -> Reply:
        body: RerankRequest = request.body
        if not 1 <= len(body.documents) <= MAX_INPUTS:
            raise Invalid(f"{len(body.documents)} documents, expected 1 to {MAX_INPUTS}")
        if not body.query.strip():
            raise Invalid("the query is empty")
        texts = [item if isinstance(item, str) else item.text for item in body.documents]
        done, scores = await _scores(service, body, texts, Ask(user=request.uid))
        statistics.add(done, len(texts))
        order = sorted(range(len(texts)), key=lambda i: -scores[i])[: body.top_n]
        results = [
            RerankResult(
                index=i,
                relevance_score=scores[i],
                document=Document(texts[i]) if body.return_documents else None,
            )
            for i in order
        ]
        return Reply(
            RerankReply(
                id=request.id,
                model=done.model,
                results=results,
                usage=RerankUsage(total_tokens=done.tokens),
                meta={"tokens": {"input_tokens": done.tokens}},
            ),
            spent=done.spent(),
        )

    paths = {"rerank.v1": "/v1/rerank", "rerank.v2": "/v2/rerank", "rerank.plain": "/rerank"}
    return [
        Route(
            name=name,
            method="POST",
            path=path,
            permission="operate",
            handler=rerank,
            summary="Sort documents by a query (Cohere, Jina).",
            body=RerankRequest,
            reply=RerankReply,
            errors=RAISED,
            errors_as=ERRORS,
            listeners=BOTH,
            max_body_bytes=16 << 20,
            runs_model=True,
            ends_with_peer=True,
            timeout_s=600,
        )
        for name, path in paths.items()
    ]


async def _scores(
    service: InferenceService, body: RerankRequest, texts: list[str], ask: Ask
) -> tuple[Done, list[float]]:
    """Give a score each, in order.

    Raises:
        Invalid: the model neither reranks nor embeds.
    """
    entry = await service.entry(body.model)
    if entry.task == "embedding":
        embedded = await service.embed_texts([body.query, *texts], model=body.model, ask=ask)
        found: list[float] = np.matmul(embedded.vectors[1:], embedded.vectors[0]).tolist()
        return embedded, found
    if entry.task != "rerank":
        raise Invalid(f'model "{entry.name}" does {entry.task}, not rerank')
    asked = Ask(options={"query": body.query}, user=ask.user)
    done = await service.run([Input(text=text) for text in texts], model=body.model, ask=asked)
    return done, [float(result.value["score"]) for result in done.results]
