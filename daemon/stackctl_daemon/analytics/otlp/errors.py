"""Errors as OTLP has them: a ``google.rpc.Status`` in the encoding of the request.

Refuses to let a client give up on what will pass: a strict one sends again only after 429, 502,
503 and 504, so that a full disk is 503 here.
Source: the OTLP specification, "OTLP/HTTP Response" and "Failures".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stackctl.errors import Failed, StackctlError
from stackctl_daemon.analytics.otlp import decode
from stackctl_daemon.http.registry import ErrorShape

RETRY_AFTER_S = 10.0
_CODES = {  # HTTP status to google.rpc.Code
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    408: 4,
    409: 9,
    413: 8,
    415: 3,
    429: 8,
    503: 14,
    504: 4,
}
_INTERNAL = 13


class RpcStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A ``google.rpc.Status`` without details."""

    code: int
    """A ``google.rpc.Code``."""
    message: str


class NotNow(Failed):
    """The records could not be stored, and may be sent again; what stood before says why."""

    status = 503


def not_now(error: StackctlError) -> NotNow:
    """Give an error of the store so that whoever sends tries again."""
    found = NotNow(
        error.message, hint=error.hint, retry_after_s=error.retry_after_s or RETRY_AFTER_S
    )
    found.code = error.code
    return found


def _make(error: StackctlError, request_id: str, status: int) -> RpcStatus:
    fix = f" (fix: {error.hint})" if error.hint else ""
    message = f"{error.message}{fix} [request {request_id}]"
    return RpcStatus(code=_CODES.get(status, _INTERNAL), message=message)


def _encode(made: RpcStatus, headers: Mapping[str, str]) -> tuple[bytes, str]:
    if decode.media_type(headers.get("content-type", "")) == decode.PROTOBUF:
        return decode.status(made.code, made.message), decode.PROTOBUF
    return msgspec.json.encode(made), decode.JSON


ERRORS = ErrorShape(_make, RpcStatus, _encode, (decode.PROTOBUF,))
