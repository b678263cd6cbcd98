"""OpenAI's models and embeddings, and the shape of its errors.

Source: the OpenAPI description of api.openai.com, operations listModels, retrieveModel and
createEmbedding. Beyond it: a text longer than the model's window is cut, and counted in the
header Stackctl-Truncated; ``dimensions`` is refused by a model that was not trained to be cut.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from stackctl.contracts.model import Model, ModelEntry
from stackctl.errors import (
    Invalid,
    ModelCorrupt,
    NotFound,
    Overloaded,
    StackctlError,
    TimedOut,
    WorkerCrashed,
)
from stackctl_daemon.http.registry import ErrorShape, Reply, Request, Route
from stackctl_daemon.inference.adapters.base import FloatArray, Input
from stackctl_daemon.inference.apis.account import Statistics
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.service import InferenceService

MAX_INPUTS = 2048
BOTH: tuple[Literal["control", "api"], ...] = ("control", "api")
RAISED = (NotFound, ModelCorrupt, Overloaded, WorkerCrashed, TimedOut)
_NUMBERS_AT_ONCE = 16_384
"""Encoded between two looks at the loop: about 2 ms."""


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, as OpenAI words it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """An error of OpenAI's API."""

    error: ErrorDetail


class UnknownModel(NotFound):
    """No model of that name can be asked."""

    param = "model"


class BadField(Invalid):
    """A field of the request is wrong."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def _error(error: StackctlError, request_id: str, status: int) -> ErrorObject:
    kinds = {429: "requests", 401: "invalid_request_error", 403: "permission_error"}
    kind = kinds.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    codes = {429: "rate_limit_exceeded", 401: "invalid_api_key"}
    param: str | None = getattr(error, "param", None)
    code = codes.get(status, error.code)
    if isinstance(error, NotFound) and param == "model":
        code = "model_not_found"
    fix = f" (fix: {error.hint})" if error.hint else ""
    return ErrorObject(
        error=ErrorDetail(message=error.message + fix, type=kind, param=param, code=code)
    )


ERRORS = ErrorShape(_error, ErrorObject)


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model."""

    id: str
    created: int
    """Unix time at which its files came here; 0: unknown."""
    object: str = "model"
    owned_by: str = "stackctl"


class ModelObjects(msgspec.Struct, frozen=True, kw_only=True):
    """The models that can be asked now."""

    data: list[ModelObject]
    object: str = "list"


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, or token ids of the model's own tokenizer with its special tokens."""

    input: str | list[str | Annotated[int, Meta(ge=0)] | list[Annotated[int, Meta(ge=0)]]]
    """A text, a list of them, a list of token ids, or a list of such lists; 2,048 at most."""
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    """None: as ``float``."""
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class EmbeddingObject(msgspec.Struct, frozen=True, kw_only=True):
    """A vector."""

    index: int
    embedding: list[float] | str
    """Base64: of float32, little-endian."""
    object: str = "embedding"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors, in the order of the input."""

    data: list[EmbeddingObject]
    model: str
    usage: Usage
    object: str = "list"


def routes(
    service: InferenceService,
    models: Any,  # Any: `ports.Models`, whose method hides the name list
    upstreams: Callable[[], Sequence[str]],
    statistics: Statistics,
) -> list[Route]:
    """Give the routes."""

    async def present() -> list[ModelObject]:
        found = (await models.list()).items
        here = [model for model in found if model.state == "present"]
        ours = await asyncio.to_thread(lambda: [_model_object(model) for model in here])
        theirs = [ModelObject(id=name, created=0, owned_by="upstream") for name in upstreams()]
        return ours + theirs

    async def list_models(request: Request) -> Reply:
        return Reply(ModelObjects(data=await present()))

    async def retrieve(request: Request) -> Reply:
        name = request.params["model"]
        found = {model.id: model for model in await present()}
        if name not in found:
            # The service knows aliases and says why a model is not here.
            name = (await entry_of(service, name)).name
        return Reply(found.get(name) or ModelObject(id=name, created=0))

    async def embeddings(request: Request) -> Reply:
        body: EmbeddingsRequest = request.body
        ask = Ask(user=request.uid)
        done, vectors = await _embed(service, body, ask)
        statistics.add(done, len(vectors))
        payload = await _write(done, vectors, body.encoding_format)
        return Reply(payload, spent=done.spent())

    return [
        Route(
            name="openai.models",
            method="GET",
            path="/v1/models",
            permission="read",
            handler=list_models,
            summary="List the models (OpenAI).",
            reply=ModelObjects,
            errors_as=ERRORS,
            listeners=("api",),
        ),
        Route(
            name="openai.model",
            method="GET",
            path="/v1/models/{model}",
            permission="read",
            handler=retrieve,
            summary="Give a model (OpenAI).",
            reply=ModelObject,
            errors=RAISED,
            errors_as=ERRORS,
            listeners=("api",),
        ),
        Route(
            name="openai.embeddings",
            method="POST",
            path="/v1/embeddings",
            permission="operate",
            handler=embeddings,
            summary="Turn texts or token ids into vectors (OpenAI).",
            body=EmbeddingsRequest,
            reply=EmbeddingsReply,
            errors=RAISED,
            errors_as=ERRORS,
            listeners=BOTH,
            max_body_bytes=16 << 20,
            runs_model=True,
            ends_with_peer=True,
            timeout_s=600,
        ),
    ]


async def entry_of(service: InferenceService, name: str) -> ModelEntry:
    """Give a model's entry.

    Raises:
        UnknownModel: there is no such model, or its files are not here.
    """
    try:
        return await service.entry(name)
    except NotFound as err:
        raise UnknownModel(err.message, hint=err.hint) from err


def _model_object(model: Model) -> ModelObject:
    try:
        created = int(Path(model.path).stat().st_mtime)
    except OSError:
        created = 0
    return ModelObject(id=model.name, created=created)


async def _embed(
    service: InferenceService, body: EmbeddingsRequest, ask: Ask
) -> tuple[Done, FloatArray]:
    texts, ids = read_input(body.input)
    entry = await entry_of(service, body.model)
    if body.dimensions is not None and body.dimensions > entry.dimensions:
        raise BadField(
            "dimensions",
            f'dimensions {body.dimensions}: the vectors of model "{entry.name}" have'
            f" {entry.dimensions}",
        )
    if entry.task != "embedding":
        raise BadField("model", f'model "{entry.name}" does {entry.task}, not embedding')
    shortened = body.dimensions not in (None, entry.dimensions)
    if texts and not shortened:
        done = await service.embed_texts(texts, model=body.model, ask=ask)
        return done, done.vectors
    inputs = [Input(text=text) for text in texts] or [
        Input(tensors={"input_ids": np.asarray(row, np.int64)}) for row in ids
    ]
    if shortened:
        ask = replace(ask, options={"dimensions": body.dimensions})
    try:
        ran = await service.run(inputs, model=body.model, ask=ask)
    except Invalid as err:
        # A text is never wrong here: it is the cut, or else an id.
        param = "dimensions" if "cut to" in err.message else "input"
        raise BadField(param, err.message) from err
    rows = [result.tensors["embedding"] for result in ran.results if result.tensors]
    return ran, np.stack(rows)


def read_input(given: str | Sequence[Any]) -> tuple[list[str], list[list[int]]]:
    """Give texts or lists of token ids; one of both is empty.

    Raises:
        BadField: it is empty, too long, of mixed kinds, or a number is out of range.
    """
    items: list[Any] = [given] if isinstance(given, str) else list(given)
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    if not 1 <= len(items) <= MAX_INPUTS:
        raise BadField("input", f"{len(items)} inputs, expected 1 to {MAX_INPUTS}")
    kinds = {type(item) for item in items}
    if len(kinds) != 1 or int in kinds:
        raise BadField("input", "the input mixes texts and token ids, expected one of them")
    empty = next((i for i, item in enumerate(items) if not item), None)
    if empty is not None:
        raise BadField("input", f"input {empty} is empty, expected a text or token ids")
    if kinds == {str}:
        return items, []
    if max(max(row) for row in items) >= 1 << 31:
        raise BadField("input", "a token id is above 2,147,483,647")
    return [], items


async def _write(done: Done, vectors: FloatArray, form: str | None) -> bytes:
    """Encode the reply; the loop gets its turn in between."""
    encode = msgspec.json.encode
    rows = max(1, _NUMBERS_AT_ONCE // max(1, vectors.shape[1]))
    parts: list[bytes] = []
    for start in range(0, len(vectors), rows):
        if start:
            await asyncio.sleep(0)
        block = np.ascontiguousarray(vectors[start : start + rows], "<f4")
        found = (
            [base64.b64encode(row.tobytes()).decode() for row in block]
            if form == "base64"
            else block.tolist()
        )
        items = [EmbeddingObject(index=start + i, embedding=row) for i, row in enumerate(found)]
        parts.append(encode(items)[1:-1])
    usage = Usage(prompt_tokens=done.tokens, total_tokens=done.tokens)
    tail = encode({"model": done.model, "usage": usage})
    return b'{"object":"list","data":[' + b",".join(parts) + b"]," + tail[1:]
