"""Answers as bytes; refuses to know how they came about."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from stackctl import __version__
from stackctl.contracts.error import ErrorBody, ErrorReply
from stackctl.errors import StackctlError
from stackctl_daemon.http import spent
from stackctl_daemon.http.registry import ErrorShape

JSON = "application/json"
JSON_LINES = "application/jsonl"
SSE = "text/event-stream"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Answer:
    """What goes back: a payload, or a stream of bytes or of Structs as JSON lines."""

    status: int
    request_id: str
    payload: bytes = b""
    stream: AsyncIterator[Any] | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    close: bool = False
    """End the connection after it."""
    content_type: str = ""
    """Empty: JSON, JSON lines for a stream."""
    shape: ErrorShape | None = None
    """How an error in the midst of the stream is written."""


def encode(body: Any) -> bytes:
    """Encode a Struct (or anything JSON) as the payload."""
    return _encoder.encode(body)


def line(body: Any) -> bytes:
    """Give an item of a stream: bytes as they are, anything else as a JSON line."""
    return body if isinstance(body, bytes) else _encoder.encode(body) + b"\n"


def last_line(answer: Answer, error: StackctlError) -> bytes:
    """Give the item that ends a stream by an error, in the stream's own form."""
    found = shaped(answer.shape, error, answer.request_id)
    if answer.content_type.startswith(SSE):
        return b"data: " + _encoder.encode(found) + b"\n\n"
    return line(found)


def shaped(
    shape: ErrorShape | None, error: StackctlError, request_id: str, status: int = 0
) -> Any:
    """Give an error as its protocol writes it."""
    if shape is None:
        return error_reply(error, request_id)
    return shape.make(error, request_id, status or error.status)


def error_reply(error: StackctlError, request_id: str) -> ErrorReply:
    """Give an error's one shape on the control API's wire."""
    return ErrorReply(
        error=ErrorBody(
            code=error.code, message=error.message, hint=error.hint, request_id=request_id
        )
    )


def of_error(
    error: StackctlError,
    request_id: str,
    *,
    status: int = 0,
    close: bool = False,
    shape: ErrorShape | None = None,
    asked: Mapping[str, str] | None = None,
) -> Answer:
    """Make the answer of an error; ``status`` overrides the class's own, ``asked`` is the header.

    The header of the request says in which encoding, where its protocol has several.
    """
    made = shaped(shape, error, request_id, status)
    payload, kind = encode(made), ""
    if shape is not None and shape.encode is not None:
        payload, kind = shape.encode(made, asked or {})
    answer = Answer(status or error.status, request_id, payload, close=close, content_type=kind)
    answer.headers += spent.headers(spent.of_error(error))
    if error.retry_after_s is not None:
        answer.headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after_s)))))
    return answer


def head(answer: Answer, *, chunked: bool, close: bool) -> bytes:
    """Write the status line and the header of an answer."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {answer.status} {phrase}",
        f"Stackctl-Version: {__version__}",
        f"X-Request-Id: {answer.request_id}",
    ]
    if answer.stream is not None:
        lines.append(f"Content-Type: {answer.content_type or JSON_LINES}")
        if chunked:
            lines.append("Transfer-Encoding: chunked")
    elif answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Type: {answer.content_type or JSON}")
        lines.append(f"Content-Length: {len(answer.payload)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of a chunked body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
