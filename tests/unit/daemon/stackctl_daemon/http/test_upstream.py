from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stackctl_daemon.http import upstream
from stackctl_daemon.http.upstream import Broken, Exchange, Target


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:11434", Target("http", "127.0.0.1", 11434, "")),
        ("http://127.0.0.1/v1/", Target("http", "127.0.0.1", 80, "")),
        ("https://engine.example/a/v1", Target("https", "engine.example", 443, "/a")),
        ("http://[::1]:8000/", Target("http", "::1", 8000, "")),
    ],
)
def test_a_base_url_is_read(url: str, found: Target) -> None:
    assert upstream.target(url) == found
    assert upstream.target(str(found)) == found


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:80", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b",
     "http://a/\r\nb", "http://a:99999", "http://a b"],
)  # fmt: skip
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        upstream.target(url)


def exchange(
    answer: bytes, check: Callable[[Exchange], Awaitable[None]], *, silent: bool = False
) -> None:
    """Serve one answer, byte for byte, to an exchange."""

    async def run() -> None:
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if silent:
                await release.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = Exchange(Target("http", "127.0.0.1", port, ""), timeout_s=0.2)
        try:
            await check(found)
        finally:
            found.close()
            release.set()
            server.close()
            await server.wait_closed()

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_an_answer_is_read_however_it_is_framed(answer: bytes) -> None:
    async def check(found: Exchange) -> None:
        head = await found.send("GET", "/", {}, b"")

        assert head.status == 200
        assert await found.body(100) == b"hello"

    exchange(answer, check)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "ended before it answered"),
        (b"rubbish\r\n\r\n", "sent no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000, "header above"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "in the midst"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "in the midst"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"a" * 900, "more than 100 bytes"),
    ],
)
def test_a_broken_answer_says_how(answer: bytes, words: str) -> None:
    async def check(found: Exchange) -> None:
        with pytest.raises(Broken, match=words):
            await found.send("GET", "/", {}, b"")
            await found.body(100)

    exchange(answer, check)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"])
def test_silence_ends_in_time(answer: bytes) -> None:
    async def check(found: Exchange) -> None:
        with pytest.raises(TimeoutError):
            await found.send("GET", "/", {}, b"")
            await found.body(100)

    exchange(answer, check, silent=True)
