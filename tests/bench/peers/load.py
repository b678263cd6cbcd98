"""A closed loop of clients over keep-alive connections, in raw asyncio.

Refuses to parse more of an answer than its status and its length, so that the client costs the
servers little of the machine, and all of them the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_S = 60.0
Address = Path | tuple[str, int]


@dataclass
class Measured:
    """What came of a window of time."""

    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Sequences a second."""
        return self.items / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a sequence."""
        return self.cpu_s / max(self.items, 1) * 1000

    def quantile_ms(self, q: float) -> float:
        """Give an exact quantile of the latencies."""
        found = sorted(self.latencies_s)
        return found[min(int(q * len(found)), len(found) - 1)] * 1000 if found else float("nan")


class _Client(asyncio.Protocol):
    def __init__(self, answered: Callable[[_Client, str], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._wanted = 0
        self.sent_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered(self, f"connection lost: {exc}")

    def send(self, request: bytes) -> None:
        assert self.transport is not None
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._wanted:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            lower = self._buffer[:head].lower()
            at = lower.find(b"content-length:")
            if at < 0:
                self._answered(self, f"no length: {self._buffer[:200]!r}")
                return
            self._wanted = head + 4 + int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._wanted:
            answer, self._buffer, self._wanted = self._buffer, b"", 0
            self._answered(self, "" if answer[9:12] == b"200" else repr(answer[:400]))


async def drive(
    address: Address,
    requests: list[bytes],
    *,
    clients: int,
    seconds: float,
    items: int,
    cpu: Callable[[], float],
    warm_s: float = 0.3,
) -> Measured:
    """Keep ``clients`` requests of ``items`` sequences under way; measure after the warm-up.

    The warm-up ends once everyone was answered, and the window once everyone was answered twice
    more: servers that take requests by the batch answer by the batch, too.
    """
    loop = asyncio.get_running_loop()
    found, ended, enough = Measured(), loop.create_future(), asyncio.Event()
    sent, began, stopping, left = 0, 0.0, False, clients

    def answered(client: _Client, error: str) -> None:
        nonlocal sent, left
        if stopping:
            return
        if error:
            found.errors.append(error)
            if not ended.done():
                ended.set_result(None)
            enough.set()
            return
        if began:
            found.items += items
            found.latencies_s.append(time.perf_counter() - client.sent_at)
        left -= 1
        if left <= 0:
            enough.set()
        sent += 1
        client.send(requests[sent % len(requests)])

    async def spend(least_s: float, answers: int) -> None:
        nonlocal left
        left = answers
        enough.clear()
        await asyncio.wait([ended], timeout=least_s)
        if ended.done():
            return
        async with asyncio.timeout(LONGEST_S):
            await enough.wait()

    connections = []
    for _ in range(clients):
        client = _Client(answered)
        if isinstance(address, Path):
            await loop.create_unix_connection(lambda c=client: c, str(address))  # type: ignore[misc]
        else:
            await loop.create_connection(lambda c=client: c, *address)  # type: ignore[misc]
        connections.append(client)
    for client in connections:
        sent += 1
        client.send(requests[sent % len(requests)])
    try:
        await spend(warm_s, clients)
        used, began = cpu(), time.perf_counter()
        await spend(seconds, 2 * clients)
        found.wall_s, found.cpu_s = time.perf_counter() - began, cpu() - used
    except TimeoutError:
        found.errors.append(f"not everyone was answered in {LONGEST_S:.0f} s")
        found.wall_s = found.wall_s or LONGEST_S
    finally:
        stopping = True
        for client in connections:
            if client.transport is not None:
                client.transport.abort()
    return found


def post(path: str, body: bytes, header: str = "", host: str = "localhost") -> bytes:
    """Give the bytes of a request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{header}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
