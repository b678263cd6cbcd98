"""Calls to another daemon, over real sockets that answer well, badly, late or not at all."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from stackctl.contracts.inference import EmbedReply, EmbedRequest
from stackctl.errors import BadConfig, Failed, Overloaded, TimedOut, Unreachable
from stackctl_daemon import remote
from stackctl_daemon.http import outbound
from stackctl_daemon.remote import RemoteEmbedder

Answering = Callable[[bytes], Awaitable[bytes]]


def reply(status: str, body: object, *fields: str) -> bytes:
    data = json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def embedding(texts: list[str], *, count: int | None = None) -> bytes:
    rows = np.array([[len(text), 1] for text in texts], "<f4")
    return reply("200 OK", {
        "model": "tiny", "dimensions": 2, "count": len(texts) if count is None else count,
        "vectors": base64.b64encode(rows.tobytes()).decode(), "tokens": 1, "truncated": 0,
        "device": "cpu:0", "execution_provider": "CPUExecutionProvider", "queue_s": 0.0,
        "compute_s": 0.0,
    })  # fmt: skip


def against(path: Path, answer: Answering, test: Callable[[], Awaitable[None]]) -> None:
    """Run ``test`` while a server gives each request's body to ``answer``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        writer.write(await answer(await reader.readexactly(length)))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(serve, str(path))
        async with server, asyncio.timeout(30):
            await test()

    asyncio.run(run())


async def embed(path: Path, *, timeout_s: float = 10) -> EmbedReply:
    request = EmbedRequest(texts=["a"])
    return await outbound.call(path, "POST", "/v1/embed", request, EmbedReply, timeout_s=timeout_s)


def test_an_error_of_the_other_daemon_is_raised_here_as_its_class(tmp_path: Path) -> None:
    path = tmp_path / "s"
    said = {"code": "overloaded", "message": "queue is full", "hint": "wait", "request_id": "r"}

    async def answer(body: bytes) -> bytes:
        return reply("429 Too Many Requests", {"error": said}, "Retry-After: 2")

    async def test() -> None:
        with pytest.raises(Overloaded, match="queue is full") as caught:
            await embed(path)
        assert (caught.value.hint, caught.value.retry_after_s) == ("wait", 2.0)

    against(path, answer, test)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "ended before it answered"),
        (b"not HTTP at all\r\n\r\n", "is no stackctld"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "ended before it answered"),
    ],
    ids=["nothing", "noise", "cut short"],
)
def test_a_broken_answer_is_unreachable(tmp_path: Path, sent: bytes, told: str) -> None:
    path = tmp_path / "s"

    async def answer(body: bytes) -> bytes:
        return sent

    async def test() -> None:
        with pytest.raises(Unreachable, match=told) as caught:
            await embed(path)
        assert str(path) in caught.value.message

    against(path, answer, test)


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no such file"):
        asyncio.run(embed(tmp_path / "s"))


def test_silence_times_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hole:  # takes connections, never answers
        hole.bind(str(tmp_path / "s"))
        hole.listen()

        with pytest.raises(TimedOut, match=r"took over 0\.2 s"):
            asyncio.run(embed(tmp_path / "s", timeout_s=0.2))


def test_texts_go_in_batches_under_the_caps_and_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "s"
    seen: list[tuple[int, int]] = []

    async def answer(body: bytes) -> bytes:
        request = json.loads(body)
        seen.append((len(request["texts"]), len(body)))
        assert (request["model"], request["priority"]) == ("small", "batch")
        return embedding(request["texts"])

    texts = ["x" * (n % 50) for n in range(2500)] + ["y" * 300_000] * 5

    async def test() -> None:
        found = await RemoteEmbedder(str(path)).embed(texts, model="small", priority="batch")
        assert found.model == "tiny"
        assert found.vectors[:, 0].tolist() == [len(text) for text in texts]

    against(path, answer, test)
    assert seen[0][0] == remote.MAX_TEXTS
    assert sum(count for count, _ in seen) == len(texts)
    assert max(size for _, size in seen) < 1 << 20


def test_too_few_vectors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def answer(body: bytes) -> bytes:
        return embedding(json.loads(body)["texts"], count=1)

    async def test() -> None:
        with pytest.raises(Failed, match="asked for 3 vectors, got 1"):
            await RemoteEmbedder(str(path)).embed(["a", "b", "c"], model="small")

    against(path, answer, test)


def test_without_a_socket_the_variable_is_named() -> None:
    with pytest.raises(BadConfig) as caught:
        asyncio.run(RemoteEmbedder("").embed(["a"], model="small"))

    assert "STACKCTL_INFERENCE_SOCKET" in caught.value.hint


def test_no_texts_ask_nobody(tmp_path: Path) -> None:
    found = asyncio.run(RemoteEmbedder(str(tmp_path / "s")).embed([], model="small"))

    assert found.vectors.shape == (0, 0)
