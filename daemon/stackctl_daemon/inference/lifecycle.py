"""When a model is loaded, kept, and given up; refuses to run anything.

A load waits until there is room, and room is made by unloading what was not asked for the
longest. Nothing pinned is evicted, nothing in use is unloaded. What comes back is measured:
where a worker keeps what a model took, its process is ended and started anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stackctl.contracts.inference import RunningModel, UnloadedModel
from stackctl.errors import Conflict, Failed, StackctlError
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import LoadedModel
from stackctl_daemon.inference.placement import (
    Candidate,
    NoRoom,
    Predictor,
    rank,
    refusal,
)
from stackctl_daemon.inference.ports import Meter, Room
from stackctl_daemon.inference.reclaim import Reclaim, slack_bytes
from stackctl_daemon.inference.terms import KeptTerms
from stackctl_daemon.inference.worker_handle import WorkerHandle
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

METER_TIMEOUT_S = 5.0
"""A driver hangs with a lost GPU."""
UNLOAD_TIMEOUT_S = 30.0
_GIVEN_BACK = 0.95
_WORTH_RECYCLING_BYTES = 16_000_000
"""Below it a restart costs more than it gives back."""


class Lifecycle:
    """Makes room, loads, unloads, and sweeps out what nobody asked for."""

    def __init__(
        self,
        workers: Sequence[WorkerHandle],
        predictor: Predictor,
        meter: Meter,
        *,
        budget_of: Callable[[wire.Load, WorkerHandle], int],
        keep_alive_s: float = 0.0,
        unload_timeout_s: float = UNLOAD_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self.predictor = predictor
        self._meter = meter
        self._budget_of = budget_of
        self._unload_timeout_s = unload_timeout_s
        self._clock = clock
        self.terms = KeptTerms(workers, keep_alive_s=keep_alive_s, clock=clock)
        self.reclaim = Reclaim(workers, room_of=self._room, lock_of=self._lock, clock=clock)
        self._locks: dict[str, asyncio.Lock] = {}
        self._before: dict[tuple[str, str], int] = {}
        self._tasks = TaskOwner()
        self._measuring = ThreadPoolExecutor(2, thread_name_prefix="meter")
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begin to sweep."""
        self._tasks.spawn(self._sweep_on_time(), name="inference-sweep")
        self._tasks.spawn(self.reclaim.watch(), name="inference-reclaim")

    async def close(self) -> None:
        """Stop sweeping."""
        await self._tasks.close()
        self._measuring.shutdown(wait=False)

    # -- making room ------------------------------------------------------------------------

    async def admit(self, worker: WorkerHandle, load: wire.Load, *, evict: bool = True) -> None:
        """Have a model wanted by a worker, once there is room for it.

        Raises:
            NoRoom: there is none, and what could be unloaded would not make enough.
            RoomInUse: it would, once it is not used any more.
        """
        if load.key in worker.held.wanted:
            return
        async with self._lock(worker):
            if load.key in worker.held.wanted:
                return
            await self._make_room(worker, load, evict=evict)
            self.terms.begin(worker, load)
            worker.warm(msgspec.structs.replace(load, budget=self._budget_of(load, worker)))
            self._news.set()

    async def candidates(self, load: wire.Load) -> list[Candidate]:
        """Give every device as it is now, from a model's point of view."""
        return list(await asyncio.gather(*(self._look(w, load) for w in self._workers)))

    async def load(
        self,
        load: wire.Load,
        *,
        device: str = "",
        pinned: bool | None = None,
        ttl_s: float | None = None,
        **terms_of_load: Any,
    ) -> WorkerHandle:
        """Load a model and wait until it is; it is moved on where a device fails.

        Terms that are None stay as they are, and so do fields of `wire.Load` that are not named.

        Raises:
            NoRoom: no device has the memory, with the figures of each.
            DeviceFault: no device can run it.
            Failed: its files cannot be opened.
        """
        load = msgspec.structs.replace(load, **terms_of_load)
        found = await self.candidates(load)
        if device:
            found = [c for c in found if c.worker.device.id == device]
        error: StackctlError | None = None
        ranked = rank(found, load.key) or [c for c in found if c.worker.problem and c.can_fit]
        for candidate in ranked:
            worker = candidate.worker
            try:
                await self.admit(worker, load)
                self.terms.change(worker, load.key, pinned=pinned, ttl_s=ttl_s)
                self._news.set()
                await worker.held.opened(load.key)
            except (NoRoom, Failed) as err:
                error = err
                continue
            finally:
                self.terms.prune()
            await self._change(worker, load.key, terms_of_load)
            return worker
        raise error or refusal(load.name, found)

    # -- giving up --------------------------------------------------------------------------

    async def unload(self, name: str, *, device: str = "") -> list[UnloadedModel]:
        """Unload a model from the devices that hold it, after the requests that use it.

        Raises:
            Conflict: requests still use it after half a minute.
        """
        held = [
            (worker, load)
            for worker in self._workers
            for load in list(worker.held.wanted.values())
            if load.name == name and device in ("", worker.device.id)
        ]
        done = []
        for worker, load in held:
            try:
                async with asyncio.timeout(UNLOAD_TIMEOUT_S):
                    await worker.held.until(lambda w=worker, k=load.key: not w.in_use(k))  # type: ignore[misc]  # bound now
            except TimeoutError as err:
                raise Conflict(
                    f'model "{name}" is used by {worker.in_use(load.key)} requests on'
                    f" {worker.device.id}, expected none within {UNLOAD_TIMEOUT_S:.0f} s",
                    hint="stackctl models ps",
                ) from err
            async with self._lock(worker):
                done.append(await self._unload(worker, load))
        return done

    async def sweep(self) -> list[UnloadedModel]:
        """Unload what nobody asked for within its time; give what went."""
        gone = []
        for worker in self._workers:
            async with self._lock(worker):
                for key, model in list(worker.models.items()):
                    left = self.terms.left_s(worker, model)
                    if left is not None and left <= 0 and not worker.in_use(key):
                        gone.append(await self._unload(worker, model.load))
        return gone

    def running(self, aliases: Callable[[str], list[str]]) -> list[RunningModel]:
        """Give the models on devices, by device and name."""
        found = []
        for worker in self._workers:
            keys = [*worker.held.wanted, *worker.held.closing]
            for key in sorted(dict.fromkeys(keys)):
                found.append(self._describe(worker, key, aliases))
        return found

    def learned(self, worker: WorkerHandle, model: LoadedModel) -> None:
        """Note what loading a model took."""
        self._tasks.spawn(self._learn(worker, model), name="inference-learn")

    # -- inside -----------------------------------------------------------------------------

    def _lock(self, worker: WorkerHandle) -> asyncio.Lock:
        return self._locks.setdefault(worker.device.id, asyncio.Lock())

    async def _make_room(self, worker: WorkerHandle, load: wire.Load, *, evict: bool) -> None:
        self._before.pop((worker.device.id, load.key), None)  # of a load that failed
        trimmed = False
        while True:
            now = await self._look(worker, load)
            if now.room is None:
                raise NoRoom(f"{worker.device.id} does not answer", hint="stackctl devices")
            if now.fits:
                if not now.opening:  # else the growth would be of several
                    self._before[worker.device.id, load.key] = now.room.used
                return
            if now.slack and not trimmed:
                trimmed = True  # what no model needs goes before a model does
                await self.reclaim.trim(worker)
                continue
            victim = self._victim(worker)
            if not evict or not now.can_fit or victim is None:
                raise refusal(load.name, [now])
            log.info("model_evicted model=%s device=%s", victim.load.name, worker.device.id)
            await self._unload(worker, victim.load)

    async def _change(self, worker: WorkerHandle, key: str, terms: dict[str, Any]) -> None:
        """Keep a model that is loaded on other terms; where they cannot be had it stays as it was.

        Raises:
            NoRoom: the device lacks the memory to hold both for a moment.
            Failed: it cannot be opened so.
        """
        held = worker.held.wanted.get(key)
        if held is None:
            return
        wanted = msgspec.structs.replace(held, **terms)
        if wanted == held:
            return
        if wanted.replicas != held.replicas:
            wanted = msgspec.structs.replace(wanted, budget=self._budget_of(wanted, worker))
            async with self._lock(worker):
                await self._make_room(worker, wanted, evict=False)
        await worker.change(wanted)

    async def _look(self, worker: WorkerHandle, load: wire.Load) -> Candidate:
        kind = worker.device.kind
        opening = sum(
            self.predictor.need(other, kind).memory_bytes
            for key, other in worker.held.wanted.items()
            if key not in worker.models and key != load.key
        )
        reclaimable = sum(m.memory_bytes for m in self._evictable(worker))
        in_use = sum(m.memory_bytes for m in self._unpinned(worker)) - reclaimable
        need, room = self.predictor.need(load, kind), await self._room(worker)
        slack = slack_bytes(worker, room)
        return Candidate(worker, room, need, opening, reclaimable, slack, in_use)

    async def _room(self, worker: WorkerHandle) -> Room | None:
        loop = asyncio.get_running_loop()
        ask = loop.run_in_executor(self._measuring, self._meter.room, worker.device, worker.pid)
        try:
            return await asyncio.wait_for(ask, METER_TIMEOUT_S)
        except (TimeoutError, StackctlError) as err:
            log.warning("device_silent device=%s error=%s", worker.device.id, err)
            return None

    def _unpinned(self, worker: WorkerHandle) -> list[LoadedModel]:
        models = worker.models.values()
        return [m for m in models if not self.terms.of(worker, m.load.key).pinned]

    def _evictable(self, worker: WorkerHandle) -> list[LoadedModel]:
        return [m for m in self._unpinned(worker) if not worker.in_use(m.load.key)]

    def _victim(self, worker: WorkerHandle) -> LoadedModel | None:
        """The model that was not asked for the longest."""
        free = self._evictable(worker)
        return min(free, key=lambda m: m.used_at, default=None)

    async def _unload(self, worker: WorkerHandle, load: wire.Load) -> UnloadedModel:
        """Unload a model that nobody uses, and see to it that its memory is free."""
        model = worker.models.get(load.key)
        taken = model.memory_bytes if model else 0
        before = await self._used(worker)
        if worker.in_use(load.key):  # somebody came while we measured
            return UnloadedModel(
                model=load.name,
                device=worker.device.id,
                memory_bytes=taken,
                returned_bytes=0,
                recycled=False,
            )
        returned = await self._closed(worker, load.key)
        if worker.device.kind != "cpu":
            # The process's own pages say nothing of a GPU's memory: the device is asked.
            returned = max(0, before - await self._used(worker))
        kept = taken - returned
        leaves_much = returned < _GIVEN_BACK * taken and kept > _WORTH_RECYCLING_BYTES
        recycle = not worker.held.wanted or leaves_much
        if recycle:
            await worker.retire()
            recycle = worker.pid is None
        self.terms.prune()
        if recycle:
            returned = max(0, before - await self._used(worker)) or returned
        log.info(
            "model_unloaded model=%s device=%s took_bytes=%d returned_bytes=%d recycled=%s",
            load.name, worker.device.id, taken, returned, recycle,
        )  # fmt: skip
        return UnloadedModel(
            model=load.name,
            device=worker.device.id,
            memory_bytes=taken,
            returned_bytes=returned,
            recycled=recycle,
        )

    async def _closed(self, worker: WorkerHandle, key: str) -> int:
        """Have a model closed that nobody uses; a process that does not do so is ended.

        While it has something else to do it has as long as for that.
        """
        try:
            return await asyncio.wait_for(worker.held.unload(key), self._unload_timeout_s)
        except TimeoutError:
            pass
        limit_s = self._unload_timeout_s
        if worker.queued or worker.held.opening or worker.held.tuning:
            limit_s += worker.wedge_timeout_s
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    worker.held.until(lambda: key not in worker.held.closing),
                    worker.wedge_timeout_s,
                )
        if key in worker.held.closing:
            await worker.end(f"{key} was not closed in {limit_s:.0f} s")
        return 0

    async def _used(self, worker: WorkerHandle) -> int:
        room = await self._room(worker)
        return room.used if room else 0

    async def _learn(self, worker: WorkerHandle, model: LoadedModel) -> None:
        before = self._before.pop((worker.device.id, model.load.key), None)
        if worker.device.kind != "cpu":
            if before is None:
                return
            model.memory_bytes = max(0, await self._used(worker) - before)
        if self.predictor.learn(model.load, worker.device.kind, model.memory_bytes):
            await asyncio.get_running_loop().run_in_executor(None, self.predictor.save)

    def _describe(
        self, worker: WorkerHandle, key: str, aliases: Callable[[str], list[str]]
    ) -> RunningModel:
        model = worker.models.get(key)
        name, _, version = key.rpartition("@")
        in_use = worker.in_use(key)
        terms = self.terms.of(worker, key)
        wanted = worker.held.wanted.get(key)
        left = self.terms.left_s(worker, model) if model else None
        load = model.load if model else wanted
        paced = model.paced if model and model.load.latency_target_s else None
        budget = self._budget_of(load, worker) if load else 0
        return RunningModel(
            model=name,
            version=version,
            device=worker.device.id,
            state=worker.held.state(key, in_use=bool(in_use)),
            execution_provider=model.execution_provider if model else "",
            memory_bytes=model.memory_bytes if model else 0,
            load_s=model.load_s if model else 0.0,
            used_at=self._wall(model.used_at - self._clock()) if model else "",
            in_use=in_use,
            pinned=terms.pinned,
            expires_at="" if left is None else self._wall(left),
            batch_budget=paced.budget if paced else budget,
            replicas=load.replicas if load else 1,
            latency_target_ms=round(load.latency_target_s * 1e3, 3) if load else 0.0,
            latency_p95_ms=round(paced.p95_s * 1e3, 1) if paced else 0.0,
            aliases=aliases(name),
        )

    @staticmethod
    def _wall(from_now_s: float) -> str:
        when = datetime.now(UTC) + timedelta(seconds=from_now_s)
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def _sweep_on_time(self) -> None:
        while True:
            self.terms.prune()
            wait_s = self.terms.due_s()
            try:
                await asyncio.wait_for(self._news.wait(), wait_s)
                self._news.clear()
            except TimeoutError:
                await self.sweep()
