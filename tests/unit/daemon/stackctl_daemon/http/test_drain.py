"""How a server ends, and what it does at its caps, with real connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes.inline_jobs import Sink
from waiting import until_on_loop

from stackctl.settings import DaemonSettings
from stackctl_daemon.http import server as servers
from stackctl_daemon.http import socket as control_socket
from stackctl_daemon.http.auth import Access
from stackctl_daemon.http.dispatch import Dispatcher
from stackctl_daemon.http.registry import Registry, Reply, Request, Route
from stackctl_daemon.http.server import Server

ASKED = b"GET /v1/wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Edge:
    """A server whose one route waits for ``release``, and may refuse to be cancelled."""

    def __init__(self, path: Path, settings: DaemonSettings) -> None:
        self.path = path
        self.release = asyncio.Event()
        self.entered = asyncio.Event()
        self.stubborn = False
        registry = Registry()
        registry.add(Route("wait", "GET", "/v1/wait", "read", self._wait, "", timeout_s=60))
        self.server = Server(Dispatcher(registry, Sink(), Access()), settings)
        self.server.start(control_socket.bind(path))

    async def _wait(self, request: Request) -> Reply:
        self.entered.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        return Reply({"late": True})

    async def ask(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            writer.write(ASKED)
            return await reader.read(-1)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def serve(
    tmp_path: Path,
    test: Callable[[Edge], Awaitable[None]],
    settings: DaemonSettings | None = None,
) -> None:
    async def run() -> None:
        edge = Edge(tmp_path / "s", settings or DaemonSettings())
        try:
            async with asyncio.timeout(30):
                await test(edge)
        finally:
            edge.release.set()
            await edge.server.drain(5)

    asyncio.run(run())


def test_a_drain_lets_a_request_end(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        asked = asyncio.ensure_future(edge.ask())
        await edge.entered.wait()
        draining = asyncio.ensure_future(edge.server.drain(20))
        await until_on_loop(lambda: edge.server.draining)
        edge.release.set()

        assert await draining
        assert b"late" in await asked
        with pytest.raises(ConnectionRefusedError):
            await edge.ask()

    serve(tmp_path, test)


def test_a_request_that_outlasts_the_drain_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(edge: Edge) -> None:
        asked = asyncio.ensure_future(edge.ask())
        await edge.entered.wait()

        assert not await edge.server.drain(0.05)
        assert await asked == b""
        assert edge.server.connections == 0

    with caplog.at_level(logging.WARNING):
        serve(tmp_path, test)

    assert "drain_cut_off connections=1" in caplog.messages


def test_a_handler_that_ignores_its_end_does_not_hold_the_drain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "CANCEL_TIMEOUT_S", 0.05)

    async def test(edge: Edge) -> None:
        edge.stubborn = True
        asked = asyncio.ensure_future(edge.ask())
        await edge.entered.wait()

        assert not await edge.server.drain(0.05)
        edge.release.set()
        await asked

    with caplog.at_level(logging.ERROR):
        serve(tmp_path, test)

    assert "handlers_not_ended tasks=1" in caplog.messages


def test_above_the_cap_a_peer_waits_for_a_place(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        asked = [asyncio.ensure_future(edge.ask()) for _ in range(3)]
        await edge.entered.wait()
        assert edge.server.connections == 1
        edge.release.set()

        assert [b"late" in await one for one in asked] == [True] * 3

    serve(tmp_path, test, DaemonSettings(max_connections=1))


def test_without_descriptors_it_accepts_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "ACCEPT_RETRY_S", 0.01)

    async def test(edge: Edge) -> None:
        edge.release.set()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            asked = asyncio.ensure_future(edge.ask())
            # From the client's own socket on, no number of a descriptor is free.
            await asyncio.sleep(0)
            free = os.open(os.devnull, os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            await until_on_loop(lambda: any("accept_failed" in m for m in caplog.messages))

        assert b"late" in await asked

    with caplog.at_level(logging.WARNING):
        serve(tmp_path, test)
