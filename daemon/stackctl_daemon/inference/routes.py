"""HTTP of the inference area; refuses to decide anything but the size of a request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import numpy as np

from stackctl.contracts.inference import (
    EmbedReply,
    EmbedRequest,
    RunInput,
    RunPart,
    RunReply,
    RunRequest,
    RunResult,
    TensorData,
)
from stackctl.errors import Invalid, ModelCorrupt, NotFound, Overloaded, TimedOut, WorkerCrashed
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.http.spent import Spent
from stackctl_daemon.http.stream import begun
from stackctl_daemon.inference import control_routes
from stackctl_daemon.inference.adapters.base import Array, Input
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.bodies import DTYPES
from stackctl_daemon.inference.service import InferenceService

MAX_INPUTS = 2048
_ERRORS = (NotFound, ModelCorrupt, Overloaded, WorkerCrashed, TimedOut)


def routes(service: InferenceService) -> list[Route]:
    """Give the routes of the inference area."""

    async def embed(request: Request) -> Reply:
        body: EmbedRequest = request.body
        _check_count(len(body.texts))
        ask = Ask(priority=body.priority, user=request.uid)
        done = await service.embed_texts(body.texts, model=body.model, ask=ask)
        return Reply(
            spent=done.spent(),
            body=EmbedReply(
                model=done.model,
                dimensions=done.vectors.shape[1],
                count=len(done.vectors),
                vectors=base64.b64encode(done.vectors.tobytes()).decode(),
                tokens=done.tokens,
                truncated=done.truncated,
                device=done.device,
                execution_provider=done.execution_provider,
                queue_s=done.queue_s,
                batch_s=done.batch_s,
                compute_s=done.compute_s,
            ),
        )

    async def run(request: Request) -> Reply:
        body: RunRequest = request.body
        _check_count(len(body.inputs))
        inputs = [read_input(item, i) for i, item in enumerate(body.inputs)]
        name = request.params["name"]
        ask = Ask(
            priority=body.priority,
            options=body.options,
            timeout_s=body.timeout_s,
            user=request.uid,
        )
        if body.stream:
            if len(inputs) != 1:
                raise Invalid(f"{len(inputs)} inputs, a streamed answer has one")
            spent = Spent()
            parts = await begun(_parts(service, inputs[0], name, ask, spent))
            return Reply(stream=parts, spent=spent)
        done = await service.run(inputs, model=name, ask=ask)
        return Reply(run_reply(done), spent=done.spent())

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
            errors=_ERRORS,
            max_body_bytes=16 << 20,
            runs_model=True,
            ends_with_peer=True,
            timeout_s=600,
        ),
        Route(
            name="inference.run",
            method="POST",
            path="/v1/models/{name}/run",
            permission="operate",
            handler=run,
            summary="Run a model on texts, bytes or tensors; JSON lines of RunPart when streamed.",
            body=RunRequest,
            reply=RunReply,
            errors=_ERRORS,
            max_body_bytes=96 << 20,
            runs_model=True,
            ends_with_peer=True,
            timeout_s=600,
        ),
        *control_routes.routes(service.control),
    ]


def read_input(item: RunInput, index: int) -> Input:
    """Decode an input.

    Raises:
        Invalid: not exactly one of text, data and tensors, or not base64 of what it says.
    """
    given = [name for name in ("text", "data", "tensors") if getattr(item, name) is not None]
    if len(given) != 1:
        raise Invalid(
            f"input {index} has {' and '.join(given) or 'nothing'}, expected one of text, data"
            " and tensors"
        )
    if item.text is not None:
        return Input(text=item.text)
    if item.data is not None:
        return Input(data=_base64(item.data, f"data of input {index}"))
    return Input(tensors={t.name: read_tensor(t) for t in item.tensors or []})


def read_tensor(tensor: TensorData) -> Array:
    """Decode a tensor.

    Raises:
        Invalid: an unknown type, or its bytes are not what type and shape say.
    """
    if tensor.dtype not in DTYPES:
        raise Invalid(f'tensor "{tensor.name}" has the type "{tensor.dtype}"')
    raw = _base64(tensor.data, f'tensor "{tensor.name}"')
    dtype = np.dtype(tensor.dtype)
    expected = dtype.itemsize
    for size in tensor.shape:
        expected *= size
    if min(tensor.shape, default=0) < 0 or expected != len(raw):
        raise Invalid(
            f'tensor "{tensor.name}" of {tensor.dtype} {tensor.shape} has {len(raw)} bytes,'
            f" expected {expected}"
        )
    try:
        found: Array = np.frombuffer(raw, dtype).reshape(tensor.shape)
    except (ValueError, OverflowError) as err:  # sizes beside a 0, or dimensions, beyond any array
        raise Invalid(f'tensor "{tensor.name}" of {tensor.dtype} {tensor.shape}: {err}') from err
    return found


def write_tensors(tensors: Mapping[str, Array] | None) -> list[TensorData]:
    """Encode tensors."""
    return [
        TensorData(
            name=name,
            dtype=value.dtype.str,
            shape=list(value.shape),
            data=base64.b64encode(np.ascontiguousarray(value).tobytes()).decode(),
        )
        for name, value in (tensors or {}).items()
    ]


def run_reply(done: Done) -> RunReply:
    """Encode what came of a request."""
    return RunReply(
        model=done.model,
        task=done.entry.task,
        items=[
            RunResult(value=result.value, tensors=write_tensors(result.tensors))
            for result in done.results
        ],
        tokens=done.tokens,
        truncated=done.truncated,
        device=done.device,
        execution_provider=done.execution_provider,
        queue_s=done.queue_s,
        batch_s=done.batch_s,
        compute_s=done.compute_s,
    )


async def _parts(
    service: InferenceService, item: Input, model: str, ask: Ask, spent: Spent
) -> AsyncGenerator[RunPart, None]:
    async with aclosing(service.stream(item, model=model, ask=ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Done):
                piece.spent(spent)
                yield RunPart(reply=run_reply(piece))
            else:
                yield RunPart(value=piece)


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise Invalid(f"{what} is not base64: {err}") from err


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_INPUTS:
        raise Invalid(f"{count} inputs, expected 1 to {MAX_INPUTS}")
