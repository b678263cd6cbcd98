"""One device's worker process as the daemon sees it.

Keeps every request until it is answered: a worker that dies is started again and gets them
anew. After a death the requests that it held go in one at a time, so that the one at fault is
found and the others are answered. Refuses to choose a device: that is the service's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from stackctl.contracts.device import Device
from stackctl.errors import BY_CODE, Failed, StackctlError
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.frames import READ_BYTES, Frames
from stackctl_daemon.inference.held_models import (
    DeviceFault,
    HeldModels,
    LoadedModel,
    WorkerClosed,
)
from stackctl_daemon.inference.piece import Piece, Pieces
from stackctl_daemon.inference.signs import Signs
from stackctl_daemon.inference.worker_process import Spawn, WorkerProcess, spawn
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

WorkerState = Literal["off", "starting", "ready", "restarting", "failed"]
FIRST_RETRY_S, LAST_RETRY_S = 2.0, 300.0
"""After which a device with a fault is tried again."""
_FAILED_AFTER = 5
"""Deaths in a row without an answer; where none of them said a word, it cannot be started."""
_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 30.0


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
        on_loaded: Callable[[WorkerHandle, LoadedModel], None] = lambda worker, model: None,
        spawn: Spawn = spawn,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.device = device
        self.state: WorkerState = "off"
        self.restarts = 0
        self.pid: int | None = None
        self.problem = ""
        """Why the device cannot be used; empty when it can."""
        self._batch_tokens = batch_tokens
        self._on_batch = on_batch
        self.wedge_timeout_s = wedge_timeout_s
        """Of work without a sign of life, after which a process is ended."""
        self._signs = Signs(wedge_timeout_s)
        self._tasks = TaskOwner()
        self._wanted = asyncio.Event()
        self._share_weights = share_weights
        self.held = HeldModels(
            device.id,
            write=self._write,
            on_fault=self._blame_device,
            on_loaded=lambda model: on_loaded(self, model),
            clock=clock,
        )
        self._pieces = Pieces()
        self._live: WorkerProcess | None = None
        self._number = self._failures = 0
        self._wedged_s = 0.0
        """How long the last worker gave no sign of life, where it was killed for it."""
        self._closing = False
        self._spawn = spawn
        self._clock = clock
        self._retiring: asyncio.Future[None] | None = None
        self._blames = 0
        self._unstarted, self._unstartable = 0, False
        self._retry_at = 0.0
        self._outbox: list[bytes] = []
        self.expected = 0
        """Bytes of requests that wait for room, and come here."""

    @property
    def load(self) -> int:
        """Bytes that wait or are computed, or will as soon as there is room for their model."""
        return self.expected + self._pieces.weight

    @property
    def queued(self) -> int:
        """Inputs that wait or are computed."""
        return self._pieces.inputs

    @property
    def models(self) -> dict[str, LoadedModel]:
        """By key, the models that are loaded now."""
        return self.held.open

    @property
    def sound(self) -> bool:
        """The device has no fault, or has had one for so long that it is worth another try."""
        return not self.problem or self._clock() >= self._retry_at

    @property
    def avoided(self) -> bool:
        """It keeps dying, or its device has a fault and is not to be tried again yet."""
        return self.state == "failed" and not (self.problem and self.sound)

    @property
    def retry_in_s(self) -> float:
        """Until a device with a fault is tried again."""
        return max(0.0, self._retry_at - self._clock()) if self.problem else 0.0

    def start(self) -> None:
        """Watch over the worker; it is started when there is something to do."""
        self._tasks.spawn(self._supervise(), name=f"worker-{self.device.id}")

    def warm(self, load: wire.Load) -> None:
        """Have a model loaded, now and after every restart."""
        self.held.want(load)
        self._wanted.set()
        self._pump()

    async def change(self, load: wire.Load) -> None:
        """Keep a model that is wanted on other terms; raises as `HeldModels.changed`."""
        self.held.change(load)
        self._wanted.set()
        self._pump()
        await self.held.changed(load)

    def in_use(self, key: str) -> int:
        """Requests that hold a model: it is not unloaded before they end."""
        return sum(piece.load.key == key for piece in self._pieces)

    async def retire(self) -> None:
        """End the process, to give back all it has, unless somebody waits for it.

        It is started again at once where models are wanted, and else when one is.
        """
        if self._live is None or self._pieces:
            return
        ended = self._retiring = asyncio.get_running_loop().create_future()
        live, self._live = self._live, None
        live.writer.close()
        await asyncio.shield(ended)

    async def end(self, reason: str) -> None:
        """End a process that does not do as it is told; what it computes is begun anew."""
        if live := self._live:
            log.error("worker_ended device=%s reason=%r", self.device.id, reason)
            live.kill()
            await self.held.until(lambda: self._live is not live)

    async def run(self, piece: Piece) -> tuple[wire.Answer, bytes]:
        """Give the results of a piece.

        Raises:
            WorkerClosed: the handle is closed.
            WorkerCrashed: it saw too many workers die.
            DeviceFault: the device cannot run the model.
            Failed: the model refused.
            TooLarge: no frame holds the inputs, or what comes of them.
            Invalid: they cannot be sent.
        """
        if self._closing:
            raise WorkerClosed(f"{self.device.id} was closed")
        if self._unstartable and self._live is None:
            raise DeviceFault(self.problem, hint="stackctl doctor")
        wire.fits(piece.weight)
        self._number += 1
        piece.id = self._number
        self._pieces.add(piece)
        try:
            self.held.want(piece.load)
            self.held.used(piece.load.key)
            self._wanted.set()
            self._pump()
            return await piece.answer
        finally:
            if self._pieces.pop(piece.id) and piece.issued:
                self._write(wire.Forget(piece.id))
            self.held.used(piece.load.key)
            self._pump()
            self.held.tell()

    async def close(self) -> None:
        """End the worker; whoever still waits gets an error."""
        self._closing = True
        await self._tasks.close()
        for piece in self._pieces:
            self._fail(piece, WorkerClosed(f"{self.device.id} was closed"))
        self.state = "off"

    async def _supervise(self) -> None:
        while True:
            await self._wanted.wait()
            self.state = "starting" if not self._failures else "restarting"
            try:
                reason = await self._serve()
            except Exception as err:  # a device outlives whatever its worker said or we did
                log.exception("worker_lost device=%s", self.device.id)
                reason = f"{type(err).__name__}: {err}"
            if self._retiring:
                self.state = "off"
                if not self.held.wanted and not self._pieces:
                    self._wanted.clear()
                self._retiring.set_result(None)
                self._retiring = None
                continue
            self._failures += 1
            self.restarts += 1
            self._died(reason)
            self.state = "restarting" if self._failures < _FAILED_AFTER else "failed"
            if self._unstarted >= _FAILED_AFTER:
                self._give_up(reason)
            delay = min(_FIRST_DELAY_S * 2 ** (self._failures - 1), _LAST_DELAY_S)
            log.warning(
                "worker_died device=%s reason=%r restart_in_s=%.1f", self.device.id, reason, delay
            )
            await asyncio.sleep(delay)

    def _give_up(self, reason: str) -> None:
        """Hand back what waits for a worker that does not start: another device may do it."""
        self._unstartable = True
        self._blame_device(f"its worker does not start: {reason}")
        for load in list(self.held.wanted.values()):
            self.held.hear(wire.LoadFailed(load.key, load.name, self.problem, "stackctl doctor"))
        for piece in self._pieces:
            self._pieces.pop(piece.id)
            self._fail(piece, DeviceFault(self.problem, hint="stackctl doctor"))

    async def _serve(self) -> str:
        """Run one process to its end; tell why it ended."""
        self._unstarted += 1
        self._wedged_s = 0.0
        try:
            live = await self._spawn(
                self.device, batch_tokens=self._batch_tokens, share_weights=self._share_weights
            )
        except OSError as err:
            return f"cannot start: {err}"
        self._live, self.pid = live, live.process.pid
        self._signs = Signs(self.wedge_timeout_s)
        watch = self._tasks.spawn(self._watch(live), name=f"wedge-{self.device.id}")
        try:
            self._pump()
            await self._listen(live)
        except ConnectionError:
            pass  # the status of the process says more
        except Exception:
            live.kill()  # what it says cannot be read
            raise
        finally:
            self._live, self.pid = None, None
            self.held.ended(died=self._retiring is None and not self._closing)
            watch.cancel()
            live.writer.close()
            if self._closing:
                live.kill()
            reason = await live.ended()
        return reason

    async def _listen(self, live: WorkerProcess) -> None:
        frames = Frames()
        while data := await live.reader.read(READ_BYTES):
            self._signs.heard()
            frames.feed(data)
            while frame := frames.next():
                self._hear(wire.read_report(frame[0]), frame[1])

    def _hear(self, report: wire.Report, data: bytes) -> None:
        if isinstance(report, wire.Answer):
            self._failures = self._blames = 0
            self._clear()
            piece = self._pieces.pop(report.id)
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
        elif isinstance(report, wire.Busy):
            self._signs.busy(report.since)
        elif isinstance(report, wire.Refused):
            self._refused(report)
        elif isinstance(report, wire.Preparing):
            pass  # a sign of life, noted by whoever read it
        elif isinstance(report, wire.Ready):
            if self._unstartable:
                self.problem = ""
            self._unstarted, self._unstartable = 0, False
            self.state = "failed" if self.problem else "ready"
        else:
            if isinstance(report, wire.Loaded):
                self._clear()
            self.held.hear(report)

    def _clear(self) -> None:
        """The device works."""
        if self.problem:
            self.problem, self.state = "", "ready"

    def _blame_device(self, message: str) -> None:
        """Leave the device alone for a while, longer every time."""
        # Every model that a lost device held tells the same loss.
        told = bool(self.problem) and self._clock() < self._retry_at
        self.problem = f"{self.device.id}: {message}"
        self.state = "failed"
        if told:
            return
        self._retry_at = self._clock() + min(FIRST_RETRY_S * 2**self._blames, LAST_RETRY_S)
        self._blames = min(self._blames + 1, 16)

    def _refused(self, report: wire.Refused) -> None:
        piece = self._pieces.pop(report.id)
        if piece is None:
            return
        kind = DeviceFault if report.device_fault else BY_CODE.get(report.code, Failed)
        if report.device_fault:
            self._blame_device(report.message)
        message = report.message
        if kind in (DeviceFault, Failed):
            message = f"{self.device.id}: {message}"
        error = kind(message, hint=report.hint)
        error.queue_s = report.queue_s
        self._fail(piece, error)
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent: suspects alone, everything else at once."""
        if self._live is None:
            return
        self.held.send_wanted()
        for piece in self._pieces.due():
            try:
                self._issue(piece)
            except StackctlError as err:  # it cannot be sent, now or after a restart
                self._pieces.pop(piece.id)
                self._fail(piece, err)

    def _issue(self, piece: Piece) -> None:
        command = wire.Run(
            piece.id,
            piece.load.key,
            piece.priority,
            options=piece.options,
            deadline=piece.deadline,
            user=piece.user,
            stream=piece.on_part is not None,
            sent=time.monotonic(),
            **piece.fields,
        )
        self.held.send(piece.load)
        self._write(command, piece.body)

    def _write(self, command: wire.Command, body: bytes = b"") -> bool:
        """Send to the process that runs; False: none does."""
        # Unbounded by the transport, bounded by the inputs that the service admits.
        if self._live is None:
            return False
        self._outbox.append(wire.pack(command, body))
        if len(self._outbox) == 1:
            # What is written in one turn of the loop leaves together.
            asyncio.get_running_loop().call_soon(self._flush, self._live)
        return True

    def _flush(self, live: WorkerProcess) -> None:
        frames, self._outbox = self._outbox, []
        if live is self._live and not live.writer.is_closing():
            live.writer.writelines(frames)

    def _died(self, reason: str) -> None:
        for piece, error in self._pieces.died(self.device.id, reason, self._wedged_s):
            self._fail(piece, error)

    def _fail(self, piece: Piece, error: StackctlError) -> None:
        if not piece.answer.done():
            piece.answer.set_exception(error)

    async def _watch(self, live: WorkerProcess) -> None:
        """Kill a worker that does not work any more, though somebody waits for it."""
        lost = await self._signs.fade(
            owes=lambda: self.held.awaited or any(p.issued for p in self._pieces),
            tunes=lambda: self.held.tuning,
        )
        log.error("worker_wedged device=%s %s", self.device.id, lost)
        self._wedged_s = self._signs.lost_s
        live.kill()
