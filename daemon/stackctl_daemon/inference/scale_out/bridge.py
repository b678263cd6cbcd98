"""Passes the daemon's commands on to replicas; refuses to know which scheduler runs them.

To the daemon it is a worker process like any other. A request whose replica died goes to
another one; models are opened by deploying them, and closed by deleting the deployment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from stackctl.errors import Failed, StackctlError, WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import MAX_DEATHS
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

SIGN_OF_LIFE_S = 5.0
"""How often a bridge with work says that it is there; whether replicas work is asked of them."""


class ReplicaLost(Exception):
    """The replica that held a request died; never leaves the bridge."""


class Deployed(Protocol):
    """Replicas of one model; see `replica.Replica`."""

    async def opened(self) -> bytes:
        """Give the frame of `Loaded` or `LoadFailed`."""
        ...

    async def run(self, header: bytes, body: bytes) -> list[bytes]:
        """Give the frames that answer a request.

        Raises:
            ReplicaLost: the replica died with it.
        """
        ...

    def stream(self, header: bytes, body: bytes) -> AsyncIterator[bytes]:
        """Give the frames that answer a request as they come about; raises as `run`."""
        ...


class Cluster(Protocol):
    """Where replicas run."""

    async def deploy(self, load: wire.Load) -> Deployed:
        """Start the replicas of a model and wait until they are there.

        Raises:
            Failed: there is no room for them, or they do not start.
        """
        ...

    async def delete(self, load: wire.Load) -> None:
        """End the replicas of a model."""
        ...


@dataclass(slots=True, eq=False)
class _Model:
    load: wire.Load
    opened: asyncio.Task[Deployed | wire.LoadFailed]
    loaded: wire.Loaded | None = None
    running: set[int] = field(default_factory=set)


class Bridge:
    """Serves the daemon until its socket closes."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cluster: Cluster
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._cluster = cluster
        self._tasks = TaskOwner()
        self._models: dict[str, _Model] = {}
        self._requests: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Run commands; end every deployment when the daemon is gone."""
        self._send(wire.pack(wire.Ready(os.getpid())))
        self._tasks.spawn(self._live(), name="sign-of-life")
        try:
            while prefix := await self._reader.readexactly(wire.PREFIX.size):
                size, length = wire.sizes(prefix)
                header = await self._reader.readexactly(size)
                self._do(header, await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            log.info("daemon_gone models=%d", len(self._models))
        finally:
            await self._tasks.close()
            for model in list(self._models.values()):
                await self._cluster.delete(model.load)

    def _do(self, header: bytes, body: bytes) -> None:
        command = wire.read_command(header)
        if isinstance(command, wire.Run):
            task = self._tasks.spawn(self._run(command, body), name=f"run-{command.id}")
            self._requests[command.id] = task
            task.add_done_callback(lambda _: self._requests.pop(command.id, None))
        elif isinstance(command, wire.Load):
            self._load(command)
        elif isinstance(command, wire.Unload):
            self._tasks.spawn(self._unload(command.key), name=f"unload-{command.key}")
        elif isinstance(command, wire.Tune):
            told = "replicas are not calibrated from here, they take the setting's batch_tokens"
            self._send(wire.pack(wire.Tuned(command.key, [], 0, told)))
        elif isinstance(command, wire.Trim):
            self._send(wire.pack(wire.Trimmed(0)))  # the replicas' memory is the cluster's
        elif running := self._requests.get(command.id):
            running.cancel()

    # -- models -----------------------------------------------------------------------------

    def _load(self, load: wire.Load) -> None:
        """Open a model; another of its name goes, once nobody waits for it."""
        for key, other in list(self._models.items()):
            if other.load.name == load.name and key != load.key:
                self._tasks.spawn(self._unload(key), name=f"unload-{key}")
        model = self._models.get(load.key)
        if model and model.loaded and _terms(model.load) != _terms(load):
            told = (
                f"replicas on Ray are as many as devices.ray_replicas says, and are not changed"
                f" once they run: unload {load.name} first"
            )
            hint = f"stackctl models unload {load.name}"
            self._send(wire.pack(wire.LoadFailed(load.key, load.name, told, hint, kept=True)))
        elif model and model.loaded:
            self._send(wire.pack(model.loaded))
        elif model is None or model.opened.done():  # it failed, and is wanted again
            opened = self._tasks.spawn(self._open(load), name=f"load-{load.key}")
            self._models[load.key] = _Model(load, opened)

    async def _open(self, load: wire.Load) -> Deployed | wire.LoadFailed:
        began = time.monotonic()
        deployed: Deployed | None = None
        try:
            deployed = await self._cluster.deploy(load)
            report = _report(await deployed.opened())
        except Exception as err:  # whatever a scheduler raises, the daemon waits for a report
            hint = err.hint if isinstance(err, StackctlError) else ""
            report = wire.LoadFailed(load.key, load.name, str(err) or repr(err), hint)
        if deployed and isinstance(report, wire.Loaded):
            report = msgspec.structs.replace(report, load_s=time.monotonic() - began)
            self._models[load.key].loaded = report
            self._send(wire.pack(report))
            return deployed
        assert isinstance(report, wire.LoadFailed)  # noqa: S101 - a replica gives one of the two
        await self._cluster.delete(load)
        self._send(wire.pack(report))
        return report

    async def _unload(self, key: str) -> None:
        model = self._models.get(key)
        if model is not None:
            await model.opened
            # The daemon unloads what nobody uses; what a switched alias left behind may be used.
            running = [self._requests[number] for number in model.running]
            if running:
                await asyncio.wait(running)
            if self._models.get(key) is model:
                del self._models[key]
                await self._cluster.delete(model.load)
        loaded = model.loaded if model else None
        name = model.load.name if model else key
        self._send(wire.pack(wire.Unloaded(key, name, loaded.memory_bytes if loaded else 0)))

    # -- requests ---------------------------------------------------------------------------

    async def _run(self, command: wire.Run, body: bytes) -> None:
        model = self._models.get(command.key)
        if model is None:
            self._refuse(command, f"{command.key} is not loaded")
            return
        model.running.add(command.id)
        try:
            deployed = await asyncio.shield(model.opened)
            if isinstance(deployed, wire.LoadFailed):
                self._refuse(command, deployed.message, deployed.hint)
                return
            await self._ask(deployed, command, body)
        except StackctlError as err:
            self._refuse(command, err.message, err.hint, err.code)
        except Exception as err:  # as of a load
            self._refuse(command, f"{command.key}: {err!r}")
        finally:
            model.running.discard(command.id)

    async def _ask(self, deployed: Deployed, command: wire.Run, body: bytes) -> None:
        """Have one replica answer; another one where it died."""
        for _ in range(MAX_DEATHS):
            left = command.deadline and max(1e-3, command.deadline - time.monotonic())
            header = msgspec.msgpack.encode(msgspec.structs.replace(command, deadline=left))
            sent = 0
            try:
                if not command.stream:
                    for frame in await deployed.run(header, body):
                        self._send(frame)
                    return
                async for frame in deployed.stream(header, body):
                    self._send(frame)
                    sent += 1
                return
            except ReplicaLost as err:
                log.warning("replica_lost key=%s request=%d %s", command.key, command.id, err)
                if sent:  # what was streamed cannot be taken back
                    break
        raise WorkerCrashed(
            f"replicas of {command.key} died on this request", hint="stackctl devices"
        )

    def _refuse(
        self, command: wire.Run, message: str, hint: str = "", code: str = Failed.code
    ) -> None:
        self._send(wire.pack(wire.Refused(command.id, message, hint, code=code)))

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            if self._requests:
                self._send(wire.pack(wire.Ready(os.getpid())))

    def _send(self, frame: bytes) -> None:
        # Unbounded by the transport, bounded by the inputs that the daemon admits.
        if not self._writer.is_closing():
            self._writer.write(frame)


def _terms(load: wire.Load) -> tuple[int, float]:
    return load.replicas, load.latency_target_s


def _report(frame: bytes) -> wire.Report:
    size, _ = wire.sizes(frame[: wire.PREFIX.size])
    return wire.read_report(frame[wire.PREFIX.size : wire.PREFIX.size + size])
