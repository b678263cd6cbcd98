"""One device's worker process as the daemon sees it.

Keeps every request until it is answered: a worker that dies is started again and gets them
anew. After a death the requests that it held go in one at a time, so that the one at fault is
found and the others are answered. Refuses to choose a device: that is the service's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from stackctl.contracts.device import Device
from stackctl.errors import Failed, StackctlError, WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

WorkerState = Literal["off", "starting", "ready", "restarting", "failed"]
MAX_DEATHS = 3
"""Deaths that a request may see before it is given up."""
_FAILED_AFTER = 5
_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 30.0


class DeviceFault(Failed):
    """The device cannot run the model; another one may."""


@dataclass(slots=True, eq=False)
class Piece:
    """Texts that go to one worker together."""

    load: wire.Load
    texts: list[str]
    priority: wire.Priority
    weight: int
    """Characters: what the device is loaded with."""
    answer: asyncio.Future[tuple[wire.Embedded, bytes]]
    id: int = 0
    deaths: int = 0
    issued: bool = False


@dataclass(slots=True)
class _Process:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    loaded: set[str] = field(default_factory=set)


class WorkerHandle:
    """Starts, feeds, watches and restarts the worker of a device."""

    def __init__(
        self,
        device: Device,
        *,
        batch_tokens: int,
        on_batch: Callable[[str, wire.Computed], None],
        wedge_timeout_s: float = 120.0,
    ):
        self.device = device
        self.state: WorkerState = "off"
        self.restarts = 0
        self.pid: int | None = None
        self.problem = ""
        """Why the device cannot be used; empty when it can."""
        self.providers: dict[str, str] = {}
        """Execution provider by the model's name, for the models that are loaded now."""
        self._batch_tokens = batch_tokens
        self._on_batch = on_batch
        self._wedge_timeout_s = wedge_timeout_s
        self._tasks = TaskOwner()
        self._wanted = asyncio.Event()
        self._preload: dict[str, wire.Load] = {}
        self._pieces: dict[int, Piece] = {}
        self._live: _Process | None = None
        self._number = 0
        self._failures = 0
        self._heard = 0.0
        self._closing = False

    @property
    def load(self) -> int:
        """Characters that wait or are computed."""
        return sum(piece.weight for piece in self._pieces.values())

    def start(self) -> None:
        """Watch over the worker; it is started when there is something to do."""
        self._tasks.spawn(self._supervise(), name=f"worker-{self.device.id}")

    def warm(self, load: wire.Load) -> None:
        """Have a model loaded, now and after every restart."""
        self._preload[load.name] = load
        self._wanted.set()
        self._pump()

    async def run(self, piece: Piece) -> tuple[wire.Embedded, bytes]:
        """Give the vectors of a piece.

        Raises:
            WorkerCrashed: it saw too many workers die.
            DeviceFault: the device cannot run the model.
            Failed: the model refused.
        """
        self._number += 1
        piece.id = self._number
        self._pieces[piece.id] = piece
        self._preload[piece.load.name] = piece.load
        self._wanted.set()
        self._pump()
        try:
            return await piece.answer
        finally:
            if self._pieces.pop(piece.id, None) and piece.issued:
                self._write(wire.Forget(piece.id))
            self._pump()

    async def close(self) -> None:
        """End the worker; whoever still waits gets an error."""
        self._closing = True
        await self._tasks.close()
        for piece in list(self._pieces.values()):
            self._fail(piece, WorkerCrashed(f"{self.device.id} was closed"))
        self.state = "off"

    async def _supervise(self) -> None:
        while True:
            await self._wanted.wait()
            self.state = "starting" if not self._failures else "restarting"
            reason = await self._serve()
            self._failures += 1
            self.restarts += 1
            self._died(reason)
            self.state = "restarting" if self._failures < _FAILED_AFTER else "failed"
            delay = min(_FIRST_DELAY_S * 2 ** (self._failures - 1), _LAST_DELAY_S)
            log.warning(
                "worker_died device=%s reason=%r restart_in_s=%.1f", self.device.id, reason, delay
            )
            await asyncio.sleep(delay)

    async def _serve(self) -> str:
        """Run one process to its end; tell why it ended."""
        try:
            live = await self._spawn()
        except OSError as err:
            return f"cannot start: {err}"
        self._live, self.pid, self._heard = live, live.process.pid, time.monotonic()
        reason = "ended"
        watch = self._tasks.spawn(self._watch(live), name=f"wedge-{self.device.id}")
        try:
            self._pump()
            await self._listen(live)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the status of the process says more
        finally:
            self._live, self.pid, self.providers = None, None, {}
            watch.cancel()
            live.writer.close()
            if live.process.returncode is None and self._closing:
                live.process.kill()
            # It ended, or lost its socket and ends by itself; two seconds, then by force.
            try:
                await asyncio.wait_for(live.process.wait(), 2)
            except TimeoutError:
                live.process.kill()
                await live.process.wait()
            code = live.process.returncode or 0
            reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return reason

    async def _spawn(self) -> _Process:
        ours, theirs = socket.socketpair()
        cores = ",".join(map(str, self.device.cores))
        command = [sys.executable, "-P", "-m", "stackctl_daemon.inference.worker"]
        command += ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
        command += ["--kind", self.device.kind, "--cores", cores]
        command += ["--batch-tokens", str(self._batch_tokens)]
        environment = dict(os.environ)
        if self.device.kind == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = self.device.uuid or self.device.id[5:]
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        return _Process(process, reader, writer)

    async def _listen(self, live: _Process) -> None:
        while True:
            header, body = wire.sizes(await live.reader.readexactly(wire.PREFIX.size))
            report = wire.read_report(await live.reader.readexactly(header))
            data = await live.reader.readexactly(body)
            self._heard = time.monotonic()
            self._hear(report, data)

    def _hear(self, report: wire.Report, data: bytes) -> None:
        if isinstance(report, wire.Ready):
            self.state = "ready"
        elif isinstance(report, wire.Loaded):
            self.providers[report.name] = report.execution_provider
            self.problem = ""
        elif isinstance(report, wire.Computed):
            self._on_batch(self.device.id, report)
        elif isinstance(report, wire.Embedded):
            self._failures = 0
            piece = self._pieces.pop(report.id, None)
            if piece and not piece.answer.done():
                piece.answer.set_result((report, data))
            self._pump()
        else:
            self._refused(report)

    def _refused(self, report: wire.Refused) -> None:
        piece = self._pieces.pop(report.id, None)
        if piece is None:
            return
        kind = DeviceFault if report.device_fault else Failed
        if report.device_fault:
            self.problem = f"{self.device.id}: {report.message}"
            self.state = "failed"
        if self._live:
            self._live.loaded.discard(piece.load.key)  # the next request tries anew
        self._fail(piece, kind(f"{self.device.id}: {report.message}", hint=report.hint))
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent: suspects alone, everything else at once."""
        if self._live is None:
            return
        for load in self._preload.values():
            self._load(load)
        waiting = list(self._pieces.values())
        suspects = [piece for piece in waiting if piece.deaths]
        if suspects:
            if not any(piece.issued for piece in waiting):
                self._issue(min(suspects, key=lambda piece: (piece.deaths, piece.id)))
            return
        for piece in waiting:
            if not piece.issued:
                self._issue(piece)

    def _issue(self, piece: Piece) -> None:
        if not any(other.issued for other in self._pieces.values()):
            self._heard = time.monotonic()  # an idle worker owes no sign of life
        self._load(piece.load)
        piece.issued = True
        self._write(wire.Embed(piece.id, piece.load.key, piece.texts, piece.priority))

    def _load(self, load: wire.Load) -> None:
        if self._live and load.key not in self._live.loaded:
            self._live.loaded.add(load.key)
            self._write(load)

    def _write(self, command: wire.Command) -> None:
        # Unbounded by the transport, bounded by the texts that the service admits.
        if self._live and not self._live.writer.is_closing():
            self._live.writer.write(wire.pack(command))

    def _died(self, reason: str) -> None:
        for piece in list(self._pieces.values()):
            if not piece.issued:
                continue
            piece.issued = False
            piece.deaths += 1
            if piece.deaths >= MAX_DEATHS:
                del self._pieces[piece.id]
                error = WorkerCrashed(
                    f"{piece.deaths} workers of {self.device.id} died on a request of "
                    f"{len(piece.texts)} texts, the last by {reason}",
                    hint="stackctl doctor",
                )
                if len(piece.texts) == 1:
                    error.text = piece.texts[0]
                self._fail(piece, error)

    def _fail(self, piece: Piece, error: StackctlError) -> None:
        if not piece.answer.done():
            piece.answer.set_exception(error)

    async def _watch(self, live: _Process) -> None:
        """Kill a worker that holds a request and gives no sign of life."""
        while True:
            await asyncio.sleep(self._wedge_timeout_s / 4)
            busy = any(piece.issued for piece in self._pieces.values())
            silent_s = time.monotonic() - self._heard
            if busy and silent_s > self._wedge_timeout_s:
                log.error("worker_wedged device=%s silent_s=%.1f", self.device.id, silent_s)
                live.process.kill()
                return
