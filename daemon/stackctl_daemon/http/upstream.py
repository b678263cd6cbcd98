"""One HTTP/1.1 exchange with a server of somebody else's, its answer in pieces.

A connection an exchange, so that closing it ends the other side's work. Refuses redirects,
compression and cookies.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT_S = 5.0
MAX_HEADER_BYTES = 64 << 10
_READ_BYTES = 64 << 10
_PLAIN = re.compile(r"[\x21-\x7e]+")


class Broken(Exception):
    """What came back is no answer, or not a whole one."""


class Target(NamedTuple):
    """Where a server is."""

    scheme: str
    host: str
    port: int
    prefix: str
    """Of every path, without a slash at its end."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def target(url: str) -> Target:
    """Read a base URL; a path of ``/v1`` at its end is left out, since requests have it.

    Raises:
        ValueError: it is not http or https, or has user, query or fragment.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{url}" is no http or https URL')
    if parts.username or parts.query or parts.fragment or not _PLAIN.fullmatch(url):
        raise ValueError(f'"{url}" has more than host, port and path')
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, parts.hostname, port, parts.path.rstrip("/").removesuffix("/v1"))


class Head(NamedTuple):
    """Status and header of an answer."""

    status: int
    headers: dict[str, str]


class Exchange:
    """A request and its answer."""

    def __init__(self, target: Target, *, timeout_s: float) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._parser: Any = httptools.HttpResponseParser(self)  # Any: it has no types
        self._headers: dict[str, str] = {}
        self._received = 0
        self._headed = False
        self._complete = False
        self._framed = False
        self._waiting: list[bytes] = []

    # -- httptools callbacks --------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """Take the status; one of 1xx is followed by another."""
        if self._parser.get_status_code() >= 200:
            self._headed = True
            self._framed = (
                "content-length" in self._headers or "transfer-encoding" in self._headers
            )
        else:
            self._headers.clear()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        self._waiting.append(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._complete = self._headed

    # -- the exchange ---------------------------------------------------------------------------

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Head:
        """Send a request and wait for the header of its answer.

        Raises:
            OSError: nobody is there.
            TimeoutError: it took too long.
            Broken: what came is no HTTP.
        """
        to = self.target
        context = ssl.create_default_context() if to.scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._reader, self._writer = await asyncio.open_connection(
                    to.host, to.port, ssl=context
                )
        except TimeoutError as err:
            raise ConnectionError(f"no connection in {CONNECT_TIMEOUT_S:g} s") from err
        host = f"[{to.host}]" if ":" in to.host else to.host
        fields = {
            "Host": f"{host}:{to.port}",
            "Connection": "close",
            "Content-Length": str(len(body)),
        } | dict(headers)
        lines = [f"{method} {to.prefix}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
        async with asyncio.timeout(self._timeout_s):
            await self._writer.drain()
            while not self._headed:
                if self._received > MAX_HEADER_BYTES:
                    raise Broken(f"sent a header above {MAX_HEADER_BYTES} bytes")
                if not await self._feed():
                    raise Broken("ended before it answered")
        return Head(self._parser.get_status_code(), self._headers)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it comes.

        Raises:
            TimeoutError: nothing came for the time allowed.
            Broken: it ended too soon.
        """
        while True:
            if self._waiting:
                found, self._waiting = b"".join(self._waiting), []
                yield found
            if self._complete:
                return
            async with asyncio.timeout(self._timeout_s):
                more = await self._feed()
            if not more and not self._complete:
                if self._framed:
                    raise Broken("ended in the midst of its answer")
                self._complete = True

    async def body(self, limit_bytes: int) -> bytes:
        """Give the whole body; raises as `pieces`, and Broken above the limit."""
        found = bytearray()
        async for piece in self.pieces():
            found += piece
            if len(found) > limit_bytes:
                raise Broken(f"answered with more than {limit_bytes} bytes")
        return bytes(found)

    def close(self) -> None:
        """End the connection, whatever is still to come."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _feed(self) -> bool:
        """Read and parse once; False at the end."""
        if self._reader is None:
            raise Broken("was not asked")
        data = await self._reader.read(_READ_BYTES)
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as err:
            raise Broken(f"sent no HTTP: {err}") from err
        return bool(data)
