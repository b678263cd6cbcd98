"""The bridge between a daemon's socket and replicas, which here run in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
from tiny_model import TABLE, WIDTH, write_graph, write_tokenizer

from stackctl.errors import Failed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.scale_out.bridge import Bridge, ReplicaLost
from stackctl_daemon.inference.scale_out.replica import Replica


class Here:
    """A cluster of one replica a model, in this process; loses as many requests as it is told."""

    def __init__(self, *, lose: int = 0, full: int = 0) -> None:
        self.lose = lose
        self.full = full
        self.replicas: dict[str, Replica] = {}
        self.deleted: list[str] = []

    async def deploy(self, load: wire.Load) -> Here.Model:
        if self.full:
            self.full -= 1
            raise Failed("no cores are free", hint="stackctl models ps")
        frame = msgspec.msgpack.encode(load)
        replica = self.replicas[load.key] = await asyncio.to_thread(Replica, frame)
        return Here.Model(self, replica)

    async def delete(self, load: wire.Load) -> None:
        self.deleted.append(load.key)
        if replica := self.replicas.pop(load.key, None):
            await asyncio.to_thread(replica.close)

    class Model:
        def __init__(self, cluster: Here, replica: Replica) -> None:
            self._cluster, self._replica = cluster, replica

        async def opened(self) -> bytes:
            return self._replica.opened()

        async def run(self, header: bytes, body: bytes) -> list[bytes]:
            if self._cluster.lose:
                self._cluster.lose -= 1
                raise ReplicaLost("killed")
            return await self._replica.run(header, body)

        def stream(self, header: bytes, body: bytes) -> AsyncIterator[bytes]:
            return self._replica.stream(header, body)


class Talk:
    """The daemon's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, *commands: wire.Command) -> None:
        self._writer.write(b"".join(map(wire.pack, commands)))

    async def read(self, *kinds: type) -> tuple[wire.Report, bytes]:
        """Give the next report of these kinds."""
        while True:
            size, length = wire.sizes(await self._reader.readexactly(wire.PREFIX.size))
            report = wire.read_report(await self._reader.readexactly(size))
            body = await self._reader.readexactly(length)
            if isinstance(report, kinds):
                return report, body


def _bridged(cluster: Here, body: Callable[[Talk], Awaitable[None]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        bridge = Bridge(reader, writer, cluster)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(bridge.serve())
            talk_reader, talk_writer = await asyncio.open_connection(sock=ours)
            try:
                await body(Talk(talk_reader, talk_writer))
            finally:
                talk_writer.close()
        writer.close()
        await writer.wait_closed()

    asyncio.run(run())


def _load(directory: Path, key: str = "tiny@1") -> wire.Load:
    graph, tokenizer = write_graph(directory, pooled=True), write_tokenizer(directory)
    return wire.Load(
        key, "tiny", "text-embedding", str(directory), str(graph), str(tokenizer), 8, WIDTH
    )


def _run(number: int, key: str = "tiny@1") -> wire.Run:
    return wire.Run(number, key, "interactive", texts=["river"])


def test_a_request_whose_replicas_died_is_asked_again(tmp_path: Path) -> None:
    cluster = Here(lose=2)

    async def body(talk: Talk) -> None:
        talk.send(_load(tmp_path), _run(1))
        loaded, _ = await talk.read(wire.Loaded, wire.LoadFailed)
        answer, data = await talk.read(wire.Answer, wire.Refused)
        assert isinstance(loaded, wire.Loaded)
        assert isinstance(answer, wire.Answer)
        np.testing.assert_allclose(np.frombuffer(data, "<f4"), TABLE[1], atol=1e-6)

    _bridged(cluster, body)

    assert cluster.deleted == ["tiny@1"]  # the daemon closed the socket


def test_a_request_that_ends_every_replica_is_given_up(tmp_path: Path) -> None:
    cluster = Here(lose=3)

    async def body(talk: Talk) -> None:
        talk.send(_load(tmp_path), _run(1))
        refused, _ = await talk.read(wire.Answer, wire.Refused)
        assert isinstance(refused, wire.Refused)
        assert refused.code == "worker_crashed"
        talk.send(_run(2))
        assert isinstance((await talk.read(wire.Answer, wire.Refused))[0], wire.Answer)

    _bridged(cluster, body)


def test_a_cluster_without_room_is_told_and_asked_again(tmp_path: Path) -> None:
    async def body(talk: Talk) -> None:
        talk.send(_load(tmp_path), _run(1))
        failed, _ = await talk.read(wire.LoadFailed)
        refused, _ = await talk.read(wire.Refused)
        assert isinstance(failed, wire.LoadFailed)
        assert isinstance(refused, wire.Refused)
        assert (failed.message, failed.hint) == ("no cores are free", "stackctl models ps")
        assert refused.message == failed.message
        talk.send(_load(tmp_path), _run(2))
        assert isinstance((await talk.read(wire.Answer, wire.Refused))[0], wire.Answer)

    _bridged(Here(full=1), body)


def test_a_new_version_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    cluster = Here()

    async def body(talk: Talk) -> None:
        talk.send(_load(tmp_path), _run(1))
        await talk.read(wire.Answer)
        talk.send(_load(tmp_path, "tiny@2"), _run(2, "tiny@2"))
        gone, _ = await talk.read(wire.Unloaded)
        assert isinstance(gone, wire.Unloaded)
        assert gone.key == "tiny@1"
        await talk.read(wire.Answer)
        talk.send(_run(3))
        refused, _ = await talk.read(wire.Refused)
        assert isinstance(refused, wire.Refused)
        assert "not loaded" in refused.message
        talk.send(wire.Unload("tiny@2"))
        gone, _ = await talk.read(wire.Unloaded)
        assert isinstance(gone, wire.Unloaded)

    _bridged(cluster, body)

    assert cluster.deleted == ["tiny@1", "tiny@2"]


def test_replicas_are_not_calibrated(tmp_path: Path) -> None:
    async def body(talk: Talk) -> None:
        talk.send(_load(tmp_path), wire.Tune("tiny@1", 1.0))
        tuned, _ = await talk.read(wire.Tuned)
        assert isinstance(tuned, wire.Tuned)
        assert tuned.budget == 0
        assert "batch_tokens" in tuned.message

    _bridged(Here(), body)


def test_replicas_are_opened_as_asked_and_not_changed_under_way(tmp_path: Path) -> None:
    async def body(talk: Talk) -> None:
        load = _load(tmp_path)
        talk.send(msgspec.structs.replace(load, replicas=2))
        opened, _ = await talk.read(wire.Loaded)
        assert isinstance(opened, wire.Loaded)
        assert opened.replicas == 2
        talk.send(msgspec.structs.replace(load, replicas=4), _run(1))
        refused, _ = await talk.read(wire.LoadFailed)
        assert isinstance(refused, wire.LoadFailed)
        assert refused.kept
        assert "unload tiny first" in refused.message
        _, vectors = await talk.read(wire.Answer)
        np.testing.assert_allclose(np.frombuffer(vectors, "<f4"), TABLE[1], atol=1e-6)

    _bridged(Here(), body)
