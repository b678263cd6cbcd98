"""The HTTP edge over a real Unix socket: parsing, limits, errors, streams, drain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from stackctl.contracts.event import Event
from stackctl.errors import DiskFull, Overloaded
from stackctl.settings import DaemonSettings
from stackctl_daemon.http import socket as control_socket
from stackctl_daemon.http.auth import Access
from stackctl_daemon.http.connection import Connection
from stackctl_daemon.http.dispatch import Dispatcher
from stackctl_daemon.http.registry import Query, Registry, Reply, Request, Route
from stackctl_daemon.http.server import Server


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int = 0


class Sink:
    def __init__(self) -> None:
        self.emitted: list[Event] = []
        self.recorded: list[Event] = []
        self.full = False

    async def record(self, events: Sequence[Event]) -> None:
        if self.full:
            raise DiskFull("no space left for events")
        self.recorded += events

    def emit(self, event: Event) -> None:
        self.emitted.append(event)


class Edge:
    """A served registry and its sink."""

    def __init__(self, path: Path, settings: DaemonSettings, access: Access) -> None:
        self.path = path
        self.sink = Sink()
        self.release = asyncio.Event()
        self.entered = asyncio.Event()
        self.server = Server(Dispatcher(self._registry(), self.sink, access), settings)
        self.server.start(control_socket.bind(path))

    def _registry(self) -> Registry:
        async def echo(request: Request) -> Reply:
            return Reply(request.body)

        async def query(request: Request) -> Reply:
            return Reply({"query": request.query, "params": request.params})

        async def boom(request: Request) -> Reply:
            raise RuntimeError("secret detail")

        async def busy(request: Request) -> Reply:
            raise Overloaded("queue is full", retry_after_s=1.5)

        async def wait(request: Request) -> Reply:
            self.entered.set()
            await self.release.wait()
            return Reply(Thing("late"))

        async def lines(request: Request) -> Reply:
            return Reply(stream=self._lines(request.query["count"]))

        number = Query("count", int, 2, "How many.", 0, 10)
        registry = Registry()
        registry.add(
            Route("thing.echo", "POST", "/v1/things", "read", echo, "", Thing, Thing, 201,
                  max_body_bytes=1000),
            Route("thing.write", "POST", "/v1/durable", "read", echo, "", Thing, durable=True),
            Route("thing.query", "GET", "/v1/things/{id}", "read", query, "", queries=(number,)),
            Route("thing.boom", "GET", "/v1/boom", "read", boom, ""),
            Route("thing.busy", "GET", "/v1/busy", "read", busy, ""),
            Route("thing.slow", "GET", "/v1/slow", "read", wait, "", timeout_s=0.05),
            Route("thing.wait", "GET", "/v1/wait", "read", wait, ""),
            Route("thing.lines", "GET", "/v1/lines", "read", lines, "", stream=True,
                  queries=(number,)),
        )  # fmt: skip
        return registry

    async def _lines(self, count: int) -> AsyncIterator[Thing]:
        for size in range(count):
            yield Thing("line", size)
        if count == 10:
            self.entered.set()
            await self.release.wait()
        if count == 9:
            raise Overloaded("mid-stream")

    async def send(self, raw: bytes) -> bytes:
        """Send bytes and give all that comes back until the server ends."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(raw)
        got = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
        return got


def get(target: str, *more: str, method: str = "GET", body: bytes = b"") -> bytes:
    fields = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *more]
    if body:
        fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def error(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(raw.partition(b"\r\n\r\n")[2])["error"]
    return found


def serve(
    tmp_path: Path,
    test: Callable[[Edge], Awaitable[None]],
    settings: DaemonSettings | None = None,
    access: Access | None = None,
) -> None:
    async def run() -> None:
        path = tmp_path / "run" / "s"
        edge = Edge(path, settings or DaemonSettings(), access or Access())
        try:
            await test(edge)
        finally:
            await edge.server.drain(5)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("raw", "expected", "code"),
    [
        (b"rubbish\r\n\r\n", 400, "invalid"),
        (b"GET /v1/boom HTTP/1.1\r\nbad header\r\n\r\n", 400, "invalid"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 400, "invalid"),
        (get("/nope"), 404, "not_found"),
        (get("/v1/things", method="DELETE"), 405, "invalid"),
        (get("/v1/things", method="POST", body=b"{"), 400, "invalid"),
        (get("/v1/things", method="POST", body=b'{"name": 1}'), 400, "invalid"),
        (get("/v1/things", method="POST", body=b'{"name": "a", "x": 1}'), 400, "invalid"),
        (get("/v1/things", method="POST", body=b'{"name":' + b"[" * 900), 400, "invalid"),
        (get("/v1/things", method="POST", body=b" " * 1001), 413, "too_large"),
        (get("/v1/things/a?count=11"), 400, "invalid"),
        (get("/v1/things/a?count=x"), 400, "invalid"),
        (get("/v1/things/a?count=1&count=2"), 400, "invalid"),
        (get("/v1/things/a?unknown=1"), 400, "invalid"),
        (get("/v1/things/%ff"), 400, "invalid"),
        (get("/v1/things/%00"), 400, "invalid"),
        (get("/v1/slow"), 504, "timed_out"),
        (get("/v1/boom"), 500, "internal"),
        (get("/v1/busy"), 429, "overloaded"),
    ],
)
def test_bad_requests_get_one_error_shape(
    tmp_path: Path, raw: bytes, expected: int, code: str
) -> None:
    async def test(edge: Edge) -> None:
        got = await edge.send(raw)

        assert (status(got), error(got)["code"]) == (expected, code)
        assert b"Stackctl-Version: " in got
        assert b"secret" not in got

    serve(tmp_path, test)


@pytest.mark.parametrize(("field_bytes", "expected"), [(15_000, 200), (23_000, 400)])
def test_header_bytes_are_counted_once_over_several_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field_bytes: int, expected: int
) -> None:
    taken = 0
    take = Connection.data_received

    def counted(connection: Connection, data: bytes) -> None:
        nonlocal taken
        take(connection, data)
        taken += len(data)

    monkeypatch.setattr(Connection, "data_received", counted)

    async def test(edge: Edge) -> None:
        reader, writer = await asyncio.open_unix_connection(str(edge.path))
        pieces = [b"GET /v1/things/a HTTP/1.1\r\nConnection: close\r\n"]
        pieces += [b"X-%d: " % number + b"a" * field_bytes + b"\r\n" for number in range(3)]
        sent = 0
        for piece in pieces:
            writer.write(piece)
            sent += len(piece)
            # The next is sent when the server has this one, so each is a read of its own.
            async with asyncio.timeout(10):
                while taken < sent:
                    await asyncio.sleep(0)
        writer.write(b"\r\n")
        got = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()

        assert status(got) == expected

    serve(tmp_path, test)


def test_chunked_body_is_cut_off_by_counted_bytes(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        head = b"POST /v1/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        got = await edge.send(head + (b"400\r\n" + b"a" * 1024 + b"\r\n") * 50)

        assert status(got) == 413
        assert got.count(b"HTTP/1.1") == 1

    serve(tmp_path, test)


def test_keep_alive_and_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        first = b"GET /v1/things/a%2Fb?count=3 HTTP/1.1\r\nHost: x\r\n\r\n"
        got = await edge.send(first + get("/v1/nope", "X-Request-Id: mine-1"))

        assert got.index(b'"id":"a/b"') < got.index(b"no route")
        assert b"X-Request-Id: mine-1" in got
        assert [e.name for e in edge.sink.emitted] == ["thing.query", "http.unmatched"]

    serve(tmp_path, test)


def test_expect_continue_is_answered_before_the_body(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        reader, writer = await asyncio.open_unix_connection(str(edge.path))
        body = b'{"name":"a"}'
        raw = get("/v1/things", "Expect: 100-continue", method="POST", body=body)
        writer.write(raw[: -len(body)])
        interim = await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        got = await reader.read(-1)
        writer.close()

        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert status(got) == 201

    serve(tmp_path, test)


def test_streams_are_json_lines_and_an_error_is_the_last(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        plain = await edge.send(b"GET /v1/lines HTTP/1.0\r\n\r\n")
        broken = await edge.send(get("/v1/lines?count=9"))

        lines = [json.loads(x) for x in plain.partition(b"\r\n\r\n")[2].splitlines()]
        assert [x["size"] for x in lines] == [0, 1]
        assert b'"code":"overloaded"' in broken
        assert broken.endswith(b"0\r\n\r\n")
        assert [e.items for e in edge.sink.emitted] == [2, 9]

    serve(tmp_path, test)


def test_durable_event_is_on_disk_before_the_answer(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        raw = get("/v1/durable", method="POST", body=b'{"name":"a"}')
        good = await edge.send(raw)
        edge.sink.full = True
        bad = await edge.send(raw)

        assert (status(good), status(bad), error(bad)["code"]) == (200, 507, "disk_full")
        assert [e.name for e in edge.sink.recorded] == ["thing.write"]

    serve(tmp_path, test)


def test_silent_and_half_sent_requests_meet_their_deadlines(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        silent, half, body = await asyncio.gather(
            edge.send(b""),
            edge.send(b"GET /v1/boom HTT"),
            edge.send(b"POST /v1/things HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"),
        )

        assert silent == b""
        assert (status(half), status(body)) == (408, 408)

    serve(tmp_path, test, DaemonSettings(header_timeout_s=0.05, body_timeout_s=0.05))


@pytest.mark.parametrize(
    "rest",
    [b"POST /v1/things HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"GET /v1/things/a HTT"],
    ids=["body", "header"],
)
def test_what_follows_a_request_in_the_same_read_meets_its_own_deadline(
    tmp_path: Path, rest: bytes
) -> None:
    async def test(edge: Edge) -> None:
        edge.release.set()

        got = await edge.send(get("/v1/wait").replace(b"Connection: close\r\n", b"") + rest)

        assert got.count(b"HTTP/1.1 200") == 1
        assert got.count(b"HTTP/1.1 408") == 1

    serve(tmp_path, test, DaemonSettings(header_timeout_s=0.05, body_timeout_s=0.1))


def test_a_busy_connection_is_not_cut_at_the_deadline_of_its_first_request(
    tmp_path: Path,
) -> None:
    async def test(edge: Edge) -> None:
        reader, writer = await asyncio.open_unix_connection(str(edge.path))
        loop, answered = asyncio.get_running_loop(), 0
        until = loop.time() + 0.6  # three times the deadline
        while loop.time() < until:
            writer.write(b"GET /v1/things/a HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            answered += 1
        began = loop.time()
        rest = await reader.read()

        assert answered > 3
        assert rest == b""  # silent at last, so it is closed
        assert loop.time() - began < 5
        writer.close()

    serve(tmp_path, test, DaemonSettings(header_timeout_s=0.2, body_timeout_s=0.2))


def test_above_the_cap_connections_wait_for_room(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        first = asyncio.ensure_future(edge.send(get("/v1/wait")))
        await edge.entered.wait()
        second = asyncio.ensure_future(edge.send(get("/v1/things/a")))
        _, held = await asyncio.wait([second], timeout=0.1)
        assert held == {second}
        edge.release.set()

        assert status(await first) == 200
        assert status(await second) == 200

    serve(tmp_path, test, DaemonSettings(max_connections=1))


def test_strangers_are_denied(tmp_path: Path) -> None:
    class Closed(Access):
        def permissions(self, uid: int, gid: int) -> frozenset[object]:  # type: ignore[override]
            return frozenset()

    async def test(edge: Edge) -> None:
        got = await edge.send(get("/v1/things/a"))

        assert (status(got), error(got)["code"]) == (403, "denied")

    serve(tmp_path, test, access=Closed())


def test_drain_lets_requests_end_and_ends_streams_with_an_error(tmp_path: Path) -> None:
    async def test(edge: Edge) -> None:
        stream = asyncio.ensure_future(edge.send(get("/v1/lines?count=10")))
        await edge.entered.wait()
        edge.entered.clear()
        request = asyncio.ensure_future(edge.send(get("/v1/wait")))
        await edge.entered.wait()
        drained = asyncio.ensure_future(edge.server.drain(5))
        ended = await stream
        edge.release.set()

        assert b"stackctld is ending" in ended
        assert status(await request) == 200
        assert await drained
        with pytest.raises(OSError):
            await asyncio.open_unix_connection(str(edge.path))

    serve(tmp_path, test)
