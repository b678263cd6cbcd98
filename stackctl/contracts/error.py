"""The one shape of an error on the wire."""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What failed, and one command that mends it."""

    code: str
    message: str
    hint: str = ""
    request_id: str = ""


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every answer that is not a success."""

    error: ErrorBody
