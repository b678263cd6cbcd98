"""A small HTTP/1.1 client over AF_UNIX, for targets that run as processes of their own.

One connection a request; refuses redirects, TLS and sockets of other users.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any, TypeVar

import httptools
import msgspec

from stackctl.contracts.error import ErrorReply
from stackctl.errors import Denied, Failed, TimedOut, Unreachable, rebuild

T = TypeVar("T")
_UCRED = struct.Struct("3i")
_READ_BYTES = 256 << 10


class _Response:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def call(
    path: Path, method: str, target: str, body: Any, reply: type[T], *, timeout_s: float
) -> T:
    """Send a Struct and give the answer as ``reply``.

    Raises:
        Unreachable: nobody answers at ``path``.
        Denied: the socket belongs to another user.
        TimedOut: no whole answer in ``timeout_s``.
        StackctlError: what the other daemon raised, rebuilt from its code.
    """
    try:
        async with asyncio.timeout(timeout_s):
            status, headers, raw = await _exchange(path, method, target, msgspec.json.encode(body))
    except TimeoutError as err:
        raise TimedOut(f"{method} {target} on {path} took over {timeout_s:g} s") from err
    except asyncio.IncompleteReadError as err:
        raise Unreachable(
            f"stackctld at {path} ended before it answered {method} {target}", hint=_fix(path)
        ) from err
    except OSError as err:
        why = (err.strerror or str(err)).lower()
        raise Unreachable(f"no stackctld answers at {path}: {why}", hint=_fix(path)) from err
    except httptools.HttpParserError as err:
        raise Unreachable(f"what listens at {path} is no stackctld: {err}") from err
    try:
        if status < 300:
            return msgspec.json.decode(raw, type=reply)
        error = msgspec.json.decode(raw, type=ErrorReply).error
    except msgspec.DecodeError as err:
        raise Failed(f"{method} {target} on {path} answered {status} in another shape") from err
    retry = headers.get("retry-after")
    raise rebuild(
        error.code, error.message, hint=error.hint, retry_after_s=float(retry) if retry else None
    )


def _fix(path: Path) -> str:
    """Give the command that starts the daemon of a socket, by its home where that can be told."""
    if path.name == "stackctld.sock" and path.parent.name == "run":
        return f"env STACKCTL_HOME={path.parent.parent} stackctld --target inference"
    return f"env STACKCTL_SOCKET={path} stackctld --target inference"


async def _exchange(
    path: Path, method: str, target: str, payload: bytes
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        _check_peer(writer.get_extra_info("socket"), path)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        writer.write(head.encode("ascii") + payload)
        await writer.drain()
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        while not response.complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                raise asyncio.IncompleteReadError(bytes(response.body), None)
            parser.feed_data(data)
        return parser.get_status_code(), response.headers, bytes(response.body)
    finally:
        writer.close()


def _check_peer(sock: socket.socket, path: Path) -> None:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid = _UCRED.unpack(raw)[1]
    if uid not in (0, os.getuid()):
        raise Denied(f"{path} is served by uid {uid}, not by uid {os.getuid()}")
