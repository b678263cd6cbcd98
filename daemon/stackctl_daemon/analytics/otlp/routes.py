"""OTLP over HTTP: a path for each signal; refuses to know what a record is.

On the API's port at the protocol's own paths too; beside the control API only under ``/otlp``.
"""

from __future__ import annotations

from typing import Any, Literal

from stackctl_daemon.analytics.otlp import decode
from stackctl_daemon.analytics.otlp.decode import Signal
from stackctl_daemon.analytics.otlp.errors import ERRORS, NotNow
from stackctl_daemon.analytics.otlp.receiver import Receiver
from stackctl_daemon.http.registry import ErrorShape, Handler, Reply, Request, Route
from stackctl_daemon.http.spent import Spent

SHAPES: list[tuple[str, ErrorShape]] = [("/otlp", ERRORS)]
"""Error shapes by path prefix."""
API_SHAPES: list[tuple[str, ErrorShape]] = [
    *SHAPES,
    ("/v1/traces", ERRORS),
    ("/v1/metrics", ERRORS),
    ("/v1/logs", ERRORS),
]
"""The same on the API's port."""
_BOTH: tuple[Literal["control", "api"], ...] = ("control", "api")
_SUMMARIES: dict[Signal, str] = {
    "traces": "Store OpenTelemetry's spans as events",
    "metrics": "Store OpenTelemetry's metric points as events",
    "logs": "Store OpenTelemetry's log records as events",
}


def routes(receiver: Receiver) -> list[Route]:
    """Give the routes of the three signals."""
    found = []
    for signal in _SUMMARIES:
        found.append(_route(receiver, signal, f"otlp.{signal}", f"/otlp/v1/{signal}", _BOTH))
        found.append(_route(receiver, signal, f"otlp.{signal}_bare", f"/v1/{signal}", ("api",)))
    return found


def _route(
    receiver: Receiver,
    signal: Signal,
    name: str,
    path: str,
    listeners: tuple[Literal["control", "api"], ...],
) -> Route:
    return Route(
        name=name,
        method="POST",
        path=path,
        permission="operate",
        handler=_handler(receiver, signal),
        summary=f"{_SUMMARIES[signal]} (OTLP/HTTP); the answer comes after they are on disk",
        raw=decode.PROTOBUF,
        also_raw=(decode.JSON,),
        encodings=("gzip",),
        also_replies=(decode.PROTOBUF,),
        errors=(decode.UnsupportedType, NotNow),
        errors_as=ERRORS,
        listeners=listeners,
        max_body_bytes=decode.MAX_BYTES,
        reply=dict[str, Any],
    )


def _handler(receiver: Receiver, signal: Signal) -> Handler:
    async def export(request: Request) -> Reply:
        headers = request.headers
        kind = decode.media_type(headers.get("content-type", ""))
        coding = headers.get("content-encoding", "identity").lower()
        batch = await receiver.take(signal, kind, coding, request.body, request.uid)
        message = batch.reason
        if batch.truncated:
            cut = f"the attributes of {batch.truncated} records were cut to 8 KiB"
            message = f"{message}; {cut}" if message else cut
        return Reply(
            decode.success(signal, kind, batch.rejected, message),
            content_type=kind,
            spent=Spent(inputs=batch.stored),
        )

    return export
