"""One device's worker process as the daemon sees it.

Keeps every request until it is answered: a worker that dies is started again and gets them
anew. After a death the requests that it held go in one at a time, so that the one at fault is
found and the others are answered. Refuses to choose a device: that is the service's.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from stackctl.contracts.device import Device
from stackctl.errors import BY_CODE, Failed, StackctlError, WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.worker_process import WorkerProcess, spawn
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
    """Inputs that go to one worker together."""

    load: wire.Load
    fields: dict[str, Any]
    """Fields of `wire.Run` that describe the inputs; see `bodies.pack_inputs`."""
    body: bytes
    count: int
    priority: wire.Priority
    weight: int
    """Bytes: what the device is loaded with."""
    answer: asyncio.Future[tuple[wire.Answer, bytes]]
    options: dict[str, Any] = field(default_factory=dict)
    deadline: float = 0.0
    user: int = -1
    on_part: Callable[[wire.Part], None] | None = None
    """Takes the pieces of a streamed answer; None: it is not streamed."""
    parts: int = 0
    id: int = 0
    deaths: int = 0
    issued: bool = False


@dataclass(slots=True)
class LoadedModel:
    """A model that a worker holds now."""

    load: wire.Load
    execution_provider: str
    load_s: float
    memory_bytes: int
    used_at: float
    """When it was last asked for, by the monotonic clock."""


class WorkerHandle:
    """Starts, feeds, watches and restarts the worker of a device."""

    def __init__(
        self,
        device: Device,
        *,
        batch_tokens: int,
        on_batch: Callable[[str, wire.Computed], None],
        wedge_timeout_s: float = 120.0,
        share_weights: bool = False,
    ):
        self.device = device
        self.state: WorkerState = "off"
        self.restarts = 0
        self.pid: int | None = None
        self.problem = ""
        """Why the device cannot be used; empty when it can."""
        self.models: dict[str, LoadedModel] = {}
        """By key, those that are loaded now."""
        self._batch_tokens = batch_tokens
        self._on_batch = on_batch
        self._wedge_timeout_s = wedge_timeout_s
        self._tasks = TaskOwner()
        self._wanted = asyncio.Event()
        self._share_weights = share_weights
        self._wanted_models: dict[str, wire.Load] = {}
        """By key: loaded again after every restart."""
        self._unloads: dict[str, asyncio.Future[int]] = {}
        self._pieces: dict[int, Piece] = {}
        self._live: WorkerProcess | None = None
        self._number = 0
        self._failures = 0
        self._heard = 0.0
        self._closing = False

    @property
    def load(self) -> int:
        """Bytes that wait or are computed."""
        return sum(piece.weight for piece in self._pieces.values())

    def start(self) -> None:
        """Watch over the worker; it is started when there is something to do."""
        self._tasks.spawn(self._supervise(), name=f"worker-{self.device.id}")

    def warm(self, load: wire.Load) -> None:
        """Have a model loaded, now and after every restart."""
        self._want(load)
        self._wanted.set()
        self._pump()

    def in_use(self, key: str) -> int:
        """Requests that hold a model: it is not unloaded before they end."""
        return sum(piece.load.key == key for piece in self._pieces.values())

    async def unload(self, key: str) -> int:
        """Close a model once nobody waits for it; give the bytes that came back."""
        self._wanted_models.pop(key, None)
        if self._live is None or key not in self._live.loaded:
            self.models.pop(key, None)
            return 0
        waiting = self._unloads.get(key)
        if waiting is None:
            waiting = self._unloads[key] = asyncio.get_running_loop().create_future()
            self._live.loaded.discard(key)
            self._write(wire.Unload(key))
        return await asyncio.shield(waiting)

    async def run(self, piece: Piece) -> tuple[wire.Answer, bytes]:
        """Give the results of a piece.

        Raises:
            WorkerCrashed: it saw too many workers die.
            DeviceFault: the device cannot run the model.
            Failed: the model refused.
        """
        self._number += 1
        piece.id = self._number
        self._pieces[piece.id] = piece
        self._want(piece.load)
        if piece.load.key in self.models:
            self.models[piece.load.key].used_at = time.monotonic()
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
            live = await spawn(
                self.device, batch_tokens=self._batch_tokens, share_weights=self._share_weights
            )
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
            self._live, self.pid, self.models = None, None, {}
            self._settle_unloads()
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

    async def _listen(self, live: WorkerProcess) -> None:
        while True:
            header, body = wire.sizes(await live.reader.readexactly(wire.PREFIX.size))
            report = wire.read_report(await live.reader.readexactly(header))
            data = await live.reader.readexactly(body)
            self._heard = time.monotonic()
            self._hear(report, data)

    def _hear(self, report: wire.Report, data: bytes) -> None:
        if isinstance(report, wire.Answer):
            self._failures = 0
            piece = self._pieces.pop(report.id, None)
            if piece and not piece.answer.done():
                piece.answer.set_result((report, data))
            self._pump()
        elif isinstance(report, wire.Computed):
            self._on_batch(self.device.id, report)
        elif isinstance(report, wire.Part):
            streamed = self._pieces.get(report.id)
            if streamed and streamed.on_part:
                streamed.parts += 1
                streamed.on_part(report)
        elif isinstance(report, wire.Refused):
            self._refused(report)
        elif isinstance(report, wire.Ready):
            self.state = "ready"
        else:
            self._hear_of_model(report)

    def _hear_of_model(self, report: wire.Loaded | wire.Unloaded | wire.LoadFailed) -> None:
        if isinstance(report, wire.Loaded):
            load = self._wanted_models.get(report.key)
            self.problem = ""
            if load:
                self.models[report.key] = LoadedModel(
                    load,
                    report.execution_provider,
                    report.load_s,
                    report.memory_bytes,
                    time.monotonic(),
                )
            return
        if isinstance(report, wire.LoadFailed):
            log.warning("model_not_loaded device=%s %s", self.device.id, report.message)
            if self._live:
                self._live.loaded.discard(report.key)  # the next request tries anew
            self._wanted_models.pop(report.key, None)
            if report.device_fault:
                self._blame_device(report.message)
        self.models.pop(report.key, None)
        waiting = self._unloads.pop(report.key, None)
        if waiting and not waiting.done():
            waiting.set_result(report.memory_bytes if isinstance(report, wire.Unloaded) else 0)

    def _blame_device(self, message: str) -> None:
        self.problem = f"{self.device.id}: {message}"
        self.state = "failed"

    def _settle_unloads(self) -> None:
        """A process that ended gave everything back."""
        for waiting in self._unloads.values():
            if not waiting.done():
                waiting.set_result(0)
        self._unloads.clear()

    def _refused(self, report: wire.Refused) -> None:
        piece = self._pieces.pop(report.id, None)
        if piece is None:
            return
        kind = DeviceFault if report.device_fault else BY_CODE.get(report.code, Failed)
        if report.device_fault:
            self._blame_device(report.message)
        message = report.message
        if kind in (DeviceFault, Failed):
            message = f"{self.device.id}: {message}"
        self._fail(piece, kind(message, hint=report.hint))
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent: suspects alone, everything else at once."""
        if self._live is None:
            return
        for load in list(self._wanted_models.values()):
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
        command = wire.Run(
            piece.id,
            piece.load.key,
            piece.priority,
            options=piece.options,
            deadline=piece.deadline,
            user=piece.user,
            stream=piece.on_part is not None,
            **piece.fields,
        )
        self._write(command, piece.body)

    def _want(self, load: wire.Load) -> None:
        for key, other in list(self._wanted_models.items()):
            if other.name == load.name and key != load.key:
                del self._wanted_models[key]  # the worker closes it when it opens the new one
        self._wanted_models[load.key] = load

    def _load(self, load: wire.Load) -> None:
        if self._live and load.key not in self._live.loaded:
            self._live.loaded.add(load.key)
            self._write(load)

    def _write(self, command: wire.Command, body: bytes = b"") -> None:
        # Unbounded by the transport, bounded by the inputs that the service admits.
        if self._live and not self._live.writer.is_closing():
            self._live.writer.write(wire.pack(command, body))

    def _died(self, reason: str) -> None:
        for piece in list(self._pieces.values()):
            if not piece.issued:
                continue
            piece.issued = False
            piece.deaths += 1
            # What was streamed cannot be taken back, so it is not begun anew.
            if piece.deaths >= MAX_DEATHS or piece.parts:
                del self._pieces[piece.id]
                error = WorkerCrashed(
                    f"{piece.deaths} workers of {self.device.id} died on a request of "
                    f"{piece.count} inputs, the last by {reason}",
                    hint="stackctl doctor",
                )
                if piece.count == 1:
                    error.text = next(iter(piece.fields.get("texts", ())), "")
                self._fail(piece, error)

    def _fail(self, piece: Piece, error: StackctlError) -> None:
        if not piece.answer.done():
            piece.answer.set_exception(error)

    async def _watch(self, live: WorkerProcess) -> None:
        """Kill a worker that holds a request and gives no sign of life."""
        while True:
            await asyncio.sleep(self._wedge_timeout_s / 4)
            busy = any(piece.issued for piece in self._pieces.values())
            silent_s = time.monotonic() - self._heard
            if busy and silent_s > self._wedge_timeout_s:
                log.error("worker_wedged device=%s silent_s=%.1f", self.device.id, silent_s)
                live.process.kill()
                return
