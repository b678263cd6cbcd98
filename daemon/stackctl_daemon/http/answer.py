"""Answers as bytes; refuses to know how they came about."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from stackctl import __version__
from stackctl.contracts.error import ErrorBody, ErrorReply
from stackctl.errors import StackctlError

JSON = "application/json"
JSON_LINES = "application/jsonl"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Answer:
    """What goes back: a payload, or a stream of Structs as JSON lines."""

    status: int
    request_id: str
    payload: bytes = b""
    stream: AsyncIterator[Any] | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    close: bool = False
    """End the connection after it."""


def encode(body: Any) -> bytes:
    """Encode a Struct (or anything JSON) as the payload."""
    return _encoder.encode(body)


def line(body: Any) -> bytes:
    """Encode one JSON line."""
    return _encoder.encode(body) + b"\n"


def error_reply(error: StackctlError, request_id: str) -> ErrorReply:
    """Give an error's one shape on the wire."""
    return ErrorReply(
        error=ErrorBody(
            code=error.code, message=error.message, hint=error.hint, request_id=request_id
        )
    )


def of_error(
    error: StackctlError, request_id: str, *, status: int = 0, close: bool = False
) -> Answer:
    """Make the answer of an error; ``status`` overrides the class's own."""
    answer = Answer(
        status or error.status,
        request_id,
        encode(error_reply(error, request_id)),
        close=close,
    )
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
        lines.append(f"Content-Type: {JSON_LINES}")
        if chunked:
            lines.append("Transfer-Encoding: chunked")
    elif answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Type: {JSON}")
        lines.append(f"Content-Length: {len(answer.payload)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of a chunked body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
