"""Accepts connections up to a cap and drains them; refuses to know HTTP.

Above the cap nothing is accepted: more peers wait in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from stackctl.settings import DaemonSettings
from stackctl_daemon.http.connection import Connection
from stackctl_daemon.http.dispatch import Dispatcher
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

ACCEPT_RETRY_S = 0.2
"""Pause after an accept that failed for want of descriptors."""

CANCEL_TIMEOUT_S = 2.0
"""How long a handler that was cancelled may take to end."""


class Server:
    """Serves a registry on one listening socket."""

    def __init__(self, dispatcher: Dispatcher, settings: DaemonSettings) -> None:
        self.dispatcher = dispatcher
        self.settings = settings
        self.tasks = TaskOwner()
        self.draining = False
        self._listener: socket.socket | None = None
        self._acceptor: asyncio.Task[None] | None = None
        self._connections: set[Connection] = set()
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """Connections held now."""
        return len(self._connections)

    def start(self, listener: socket.socket) -> None:
        """Begin to accept on a bound, listening, non-blocking socket, which becomes ours."""
        self._listener = listener
        self._acceptor = self.tasks.spawn(self._accept(listener), name="http accept")

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, let requests end, cut off the rest; False when some were cut off."""
        self.draining = True
        if self._acceptor is not None:
            self._acceptor.cancel()
            await asyncio.wait([self._acceptor])
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.drain()
        clean = True
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            clean = False
            log.warning("drain_cut_off connections=%d", len(self._connections))
            for connection in list(self._connections):
                connection.abort()
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self.tasks.close()
        except TimeoutError:
            clean = False
            log.error("handlers_not_ended tasks=%d", len(self.tasks))
        return clean

    def closed(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        self._room.set()
        if not self._connections:
            self._empty.set()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        failed = 0
        while True:
            while len(self._connections) >= self.settings.max_connections:
                self._room.clear()
                await self._room.wait()
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as err:
                if not failed:  # once: it fails as often as it is tried until a place is free
                    log.warning("accept_failed error=%s connections=%d", err, self.connections)
                failed += 1
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            if failed:
                log.warning("accept_works_again failed=%d", failed)
                failed = 0
            try:
                connection = Connection(self, self.dispatcher.access.peer(sock))
            except OSError:
                sock.close()  # it left before we could ask who it was
                continue
            self._connections.add(connection)
            self._empty.clear()
            try:
                await loop.connect_accepted_socket(lambda c=connection: c, sock)  # type: ignore[misc]  # the loop calls it at once
            except BaseException:
                self.closed(connection)
                sock.close()
                raise
