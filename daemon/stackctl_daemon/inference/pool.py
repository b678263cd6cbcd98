"""Requests over the workers: admission, splitting, routing, trying again elsewhere.

Refuses to know what a model is, beyond the message that loads it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from stackctl.errors import Failed, TimedOut, WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.admission import Admission, Claim
from stackctl_daemon.inference.bodies import pack_inputs
from stackctl_daemon.inference.held_models import DeviceFault, WorkerClosed
from stackctl_daemon.inference.limits import Waiting
from stackctl_daemon.inference.piece import Piece
from stackctl_daemon.inference.placement import NoRoom
from stackctl_daemon.inference.worker_handle import WorkerHandle

T = TypeVar("T")
_PIECE_INPUTS = 256
"""Inputs in a piece at most: bounds a frame, and what one death repeats."""
_SPLIT_FROM = 4
"""Inputs per device below which a request is not worth splitting."""


class Admit(Protocol):
    """Makes room for a model; see `Lifecycle.admit`."""

    async def __call__(self, worker: WorkerHandle, load: wire.Load, *, evict: bool = True) -> None:
        """Have it wanted by the worker.

        Raises:
            NoRoom: there is none.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """A request for one model."""

    load: wire.Load
    inputs: Sequence[Input]
    priority: wire.Priority = "interactive"
    options: dict[str, Any] = field(default_factory=dict)
    deadline: float = 0.0
    """By the monotonic clock; 0: none."""
    patience: str = ""
    """In words, how long until the deadline and who set it."""
    user: int = -1
    on_part: Callable[[wire.Part], None] | None = None
    max_queued: int = 0
    """Inputs of its model that may wait or be computed; 0: as many as of all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker answered to some of the inputs."""

    worker: WorkerHandle
    answer: wire.Answer
    body: bytes


class Pool:
    """The workers of this machine."""

    def __init__(self, *, max_queued: int, admit: Admit | None = None) -> None:
        self.workers: list[WorkerHandle] = []
        self._make_room = admit
        self._admission = Admission(max_queued)
        self._waiting = Waiting()

    @property
    def queued(self) -> int:
        """Inputs admitted and not answered."""
        return self._admission.queued

    async def run(self, task: Task) -> list[Outcome]:
        """Compute the inputs on the least loaded devices; outcomes in the inputs' order.

        Raises:
            Overloaded: the queue has no room for the first window of the inputs.
            TimedOut: the deadline passed.
            WorkerCrashed: the inputs end every worker they meet.
            Failed: no device can run the model.
        """
        total, name = len(task.inputs), task.load.name
        # As of the queue of all: a list as long as its limit would have to find it idle.
        own = max(1, task.max_queued // 4) if task.max_queued else total
        window = max(1, min(self._admission.window, own))
        held = min(total, window)  # of a longer list no more is in at once
        self._waiting.enter(name, held, limit=task.max_queued, wait_s=self._admission.drained_s)
        try:
            return await self._run_windows(task, window)
        finally:
            self._waiting.leave(name, held)

    async def _run_windows(self, task: Task, window: int) -> list[Outcome]:
        total = len(task.inputs)
        outcomes: list[Outcome] = []
        for start in range(0, max(1, total), window):
            part = replace(task, inputs=task.inputs[start : start + window])
            claim = self._admission.claim(
                task.load.name,
                len(part.inputs),
                total=total,
                window=window,
                priority=task.priority,
                user=task.user,
            )
            outcomes += await self._admit(part, claim, first=not start)
        return outcomes

    def candidates(self, tried: set[str] | frozenset[str] = frozenset()) -> list[WorkerHandle]:
        """Give the usable GPUs, or else the CPU devices; one with a fault is a last resort.

        A fault is forgotten after a while: the next request tries the device again.
        """
        left = [worker for worker in self.workers if worker.device.id not in tried]
        sound = [worker for worker in left if worker.sound]
        gpus = [worker for worker in sound if worker.device.kind == "cuda"]
        return gpus or sound or left

    def _recovered(self, failed: set[str]) -> list[WorkerHandle]:
        """Give the devices that failed a request once and have no fault any more."""
        return [w for w in self.workers if w.device.id in failed and w.sound]

    async def drained(self, name: str, timeout_s: float) -> None:
        """Wait until no input of a model waits or is computed.

        Raises:
            Conflict: some still do after so long.
        """
        await self._waiting.drained(name, timeout_s)

    async def _admit(self, task: Task, claim: Claim, *, first: bool) -> list[Outcome]:
        answered = False
        if first:
            self._admission.enter(claim)
        else:
            await self._within(task, self._admission.wait(claim))
        try:
            parts = self._split(task)
            work = self._run(parts[0]) if len(parts) == 1 else self._run_all(parts)
            outcomes = await self._within(task, work)
            answered = True
            return outcomes
        finally:
            self._admission.leave(claim, answered=answered)

    async def _within(self, task: Task, work: Awaitable[T]) -> T:
        if not task.deadline:
            return await work
        began = time.monotonic()
        limit = asyncio.get_running_loop().time() + task.deadline - began
        try:
            async with asyncio.timeout_at(limit):
                return await work
        except TimedOut as err:  # the worker's word: it was not begun
            err.message += f": {task.patience}"
            raise
        except TimeoutError as err:
            late = TimedOut(
                f"{task.load.name}: {len(task.inputs)} inputs were not computed in time:"
                f" {task.patience}",
                hint="stackctl devices",
            )
            late.queue_s = time.monotonic() - began
            raise late from err

    async def _run_all(self, parts: list[Task]) -> list[Outcome]:
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self._run(part)) for part in parts]
        except ExceptionGroup as err:
            # One is enough to say: the parts of a request fail alike.
            raise _first(err) from None
        return [outcome for task in running for outcome in task.result()]

    def _split(self, task: Task) -> list[Task]:
        count = len(task.inputs)
        if task.on_part is not None or count < _SPLIT_FROM:
            return [task]
        devices = max(1, len(self.candidates()))
        pieces = min(devices, max(1, count // _SPLIT_FROM))
        # Several pieces a device, so that a slower one gets fewer of them.
        if pieces > 1:
            pieces = min(devices * 4, max(devices, count // 16))
        size = min(_PIECE_INPUTS, -(-count // pieces))
        if size >= count:
            return [task]
        return [replace(task, inputs=task.inputs[i : i + size]) for i in range(0, count, size)]

    async def _run(self, task: Task) -> list[Outcome]:
        """Compute a piece; inputs whose workers keep dying are halved until one stands alone.

        A long piece may just have been unlucky: halves are shorter in the line of fire, and an
        input that really ends workers is in the end refused by itself.
        """
        try:
            return [await self._run_whole(task)]
        except WorkerClosed:
            raise
        except WorkerCrashed:
            if len(task.inputs) == 1:
                raise
        half = len(task.inputs) // 2
        first = await self._run(replace(task, inputs=task.inputs[:half]))
        return first + await self._run(replace(task, inputs=task.inputs[half:]))

    async def _run_whole(self, task: Task) -> Outcome:
        tried: set[str] = set()
        failed: set[str] = set()
        fault: DeviceFault | NoRoom | None = None
        fields, body = pack_inputs(task.inputs)
        weight = len(body) + sum(map(len, fields.get("texts", ()))) + len(task.inputs)
        while workers := self.candidates(tried) or self._recovered(failed):
            worker = workers[0]
            if len(workers) > 1:
                worker = min(workers, key=lambda w: (w.avoided, w.load))
            if self._make_room:
                # No model is given up for a second copy of another.
                first = not any(task.load.key in other.models for other in self.workers)
                worker.expected += weight
                try:
                    await self._make_room(worker, task.load, evict=first)
                except NoRoom as err:
                    tried.add(worker.device.id)
                    failed.discard(worker.device.id)
                    fault = fault or err
                    continue
                finally:
                    worker.expected -= weight
            piece = Piece(
                task.load,
                fields,
                body,
                len(task.inputs),
                task.priority,
                weight,
                asyncio.get_running_loop().create_future(),
                options=task.options,
                deadline=task.deadline,
                user=task.user,
                on_part=task.on_part,
            )
            try:
                answer, data = await worker.run(piece)
                return Outcome(worker, answer, data)
            except DeviceFault as err:
                # A second fault under one request is the end of it, so that this ends.
                failed ^= {worker.device.id}
                tried.add(worker.device.id)
                fault = err  # says more than a lack of room elsewhere
        raise fault or Failed("no device can compute", hint="stackctl devices")


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
