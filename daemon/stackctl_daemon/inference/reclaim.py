"""What workers hold above what their models account for, and taking it back.

A worker that holds much more is told to give back what it does not use; where that does not
help and nobody waits, its process is ended and its models are loaded again. Refuses to unload
a model. Looked at on demand, and from time to time where something was computed since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stackctl.contracts.inference import WorkerMemory
from stackctl_daemon.inference.placement import WORKER_BYTES
from stackctl_daemon.inference.ports import Room
from stackctl_daemon.inference.worker_handle import WorkerHandle

log = logging.getLogger(__name__)

LEAST_BYTES = 96_000_000
"""Above what the models account for: libraries grow at their first use by up to 70 MB."""
IDLE_BYTES = 32_000_000
"""Above what the models account for, from which an idle worker is trimmed: it costs it nothing."""
LEAST_SHARE = 0.5
"""Of what the models account for."""
LOOK_S = 2.0
"""Between two looks at a worker that computes."""
QUIET_S = 2.0
"""Without a request, after which a worker is idle."""
BUSY_TRIM_S = 30.0
"""Between two trims of a worker that is not."""
TRIM_TIMEOUT_S = 30.0
"""A worker answers between two batches."""
RELOAD_TIMEOUT_S = 120.0
FIRST_PAUSE_S, LAST_PAUSE_S = 60.0, 3600.0
"""Between two restarts, doubled each time: a model that keeps much is not loaded for ever."""


@dataclass(slots=True)
class _Watched:
    settled: tuple[int | None, float] | None = None
    """The process, and its last request, when there was nothing more to take back."""
    trim_after: float = 0.0
    recycle_after: float = 0.0
    pause_s: float = FIRST_PAUSE_S


def accounted_bytes(worker: WorkerHandle) -> int:
    """Give what a worker's models took when they were loaded, and itself."""
    taken = sum(model.memory_bytes for model in worker.models.values())
    return taken + (WORKER_BYTES if worker.pid and worker.device.kind == "cpu" else 0)


def slack_bytes(worker: WorkerHandle, room: Room | None) -> int:
    """Give what a worker holds above that, where it is worth taking back; else 0."""
    own = _own(worker, room)
    accounted = accounted_bytes(worker)
    above = (own or 0) - accounted
    return above if above > max(LEAST_BYTES, int(LEAST_SHARE * accounted)) else 0


class Reclaim:
    """Watches over the memory of the workers."""

    def __init__(
        self,
        workers: Sequence[WorkerHandle],
        *,
        room_of: Callable[[WorkerHandle], Awaitable[Room | None]],
        lock_of: Callable[[WorkerHandle], asyncio.Lock],
        clock: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._room_of = room_of
        self._lock_of = lock_of
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    async def survey(self) -> list[WorkerMemory]:
        """Measure what each worker holds, beside what its models account for."""
        running = [worker for worker in self._workers if worker.pid]
        rooms = await asyncio.gather(*map(self._room_of, running))
        return [_memory(worker, room) for worker, room in zip(running, rooms, strict=True)]

    async def watch(self) -> None:
        """Look at the workers for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            for worker in self._workers:
                await self.look(worker)

    async def look(self, worker: WorkerHandle) -> None:
        """Take back what a worker does not need, if it is much."""
        seen = self._watched.setdefault(worker.device.id, _Watched())
        last = max((model.used_at for model in worker.models.values()), default=0.0)
        if worker.pid is None or seen.settled == (worker.pid, last):
            return
        quiet, now = not worker.queued and self._clock() - last >= QUIET_S, self._clock()
        if worker.held.awaited or (not quiet and now < seen.trim_after):
            return
        room = await self._room_of(worker)
        slack = slack_bytes(worker, room)
        if slack or (quiet and (_own(worker, room) or 0) > accounted_bytes(worker) + IDLE_BYTES):
            seen.trim_after = now + BUSY_TRIM_S
            await self.trim(worker)
            slack = slack_bytes(worker, await self._room_of(worker))
        if slack and quiet and now >= seen.recycle_after and await self._recycle(worker, slack):
            seen.recycle_after, seen.pause_s = (
                now + seen.pause_s,
                min(2 * seen.pause_s, LAST_PAUSE_S),
            )
        elif quiet:
            if not slack and now > seen.recycle_after + seen.pause_s:
                seen.pause_s = FIRST_PAUSE_S
            if not slack or now >= seen.recycle_after:
                seen.settled = (worker.pid, last)

    async def trim(self, worker: WorkerHandle) -> int:
        """Have a worker give back what it does not use; give the bytes."""
        pid = worker.pid
        try:
            returned = await asyncio.wait_for(worker.held.trim(), TRIM_TIMEOUT_S)
        except TimeoutError:
            return 0  # it computes one long batch
        log.info(
            "worker_trimmed device=%s pid=%s returned_bytes=%d", worker.device.id, pid, returned
        )
        return returned

    async def _recycle(self, worker: WorkerHandle, slack: int) -> bool:
        """End a worker's process where nobody waits for it, and have its models loaded again."""
        async with self._lock_of(worker):
            if worker.queued or worker.held.awaited or worker.pid is None:
                return False
            used = {key: model.used_at for key, model in worker.models.items()}
            before, pid = await self._room_of(worker), worker.pid
            await worker.retire()
            if worker.pid == pid:
                return False  # somebody came while we measured
            try:
                async with asyncio.timeout(RELOAD_TIMEOUT_S):
                    await worker.held.until(
                        lambda: all(key in worker.models for key in worker.held.wanted)
                    )
            except TimeoutError:
                log.warning("worker_reloads_slowly device=%s", worker.device.id)
            for key, model in worker.models.items():
                # Being loaded again is no request: what was to go in an hour still does.
                model.used_at = min(model.used_at, used.get(key, model.used_at))
            after = await self._room_of(worker)
        log.info(
            "worker_recycled device=%s above_bytes=%d before_bytes=%d after_bytes=%d",
            worker.device.id, slack, _own(worker, before) or 0, _own(worker, after) or 0,
        )  # fmt: skip
        return True


def _own(worker: WorkerHandle, room: Room | None) -> int | None:
    if room is None:
        return None
    return room.used if room.own is None and worker.device.kind == "cpu" else room.own


def _memory(worker: WorkerHandle, room: Room | None) -> WorkerMemory:
    own = _own(worker, room)
    models = sum(model.memory_bytes for model in worker.models.values())
    return WorkerMemory(
        device=worker.device.id,
        worker_pid=worker.pid,
        memory_bytes=own,
        models_bytes=models,
        above_bytes=None if own is None else own - models,
    )
