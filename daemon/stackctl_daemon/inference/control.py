"""What one may do to models on devices: load, unload, alias, tune, and ask why.

Refuses to decide where a model goes and when it leaves: that is placement and lifecycle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stackctl.contracts.inference import (
    Alias,
    AliasList,
    LoadRequest,
    Placement,
    RunningList,
    RunningModel,
    UnloadReply,
)
from stackctl.contracts.job import Job
from stackctl.contracts.model import RESERVED_NAMES
from stackctl.errors import Conflict, Failed, Invalid, NotFound
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.calibration import Knees, Row, tuned_as
from stackctl_daemon.inference.lifecycle import Lifecycle
from stackctl_daemon.inference.limits import ModelLimits
from stackctl_daemon.inference.placement import Measured, explain
from stackctl_daemon.inference.pool import Pool
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import WorkerHandle
from stackctl_daemon.jobs import JobContext, JobKind, Jobs
from stackctl_daemon.tasks import TaskOwner

TUNE = "models.tune"
MOST_REPLICAS = 64
MOST_LATENCY_MS = 600_000
_JOB_SECONDS = 3.0
LoadOf = Callable[[str], Awaitable[wire.Load]]


class Aliases:
    """Names that stand for models; switched in one step, kept on disk."""

    def __init__(self, file: StateFile[str]) -> None:
        self._file = file
        self._known = file.read()

    def resolve(self, name: str) -> str:
        """Give the model that a name means now; the name itself when it is no alias."""
        return self._known.get(name, name)

    def of(self, model: str) -> list[str]:
        """Give the aliases of a model."""
        return sorted(alias for alias, name in self._known.items() if name == model)

    def all(self) -> dict[str, str]:
        """Give models by alias."""
        return dict(sorted(self._known.items()))

    def put(self, alias: str, model: str | None) -> str:
        """Let an alias mean a model, or nothing; on disk before it counts; give the old one."""
        known = {name: kept for name, kept in self._known.items() if name != alias}
        if model is not None:
            known[alias] = model
        self._file.write(known)
        previous, self._known = self._known.get(alias, ""), known
        return previous


def terms_of(wanted: LoadRequest) -> dict[str, Any]:
    """Give the fields of `wire.Load` that a request names.

    Raises:
        Invalid: a value is out of its range.
    """
    asked: dict[str, Any] = {}
    if wanted.replicas is not None:
        if not 1 <= wanted.replicas <= MOST_REPLICAS:
            raise Invalid(f"replicas is {wanted.replicas}, expected 1 to {MOST_REPLICAS}")
        asked["replicas"] = wanted.replicas
    if wanted.latency_target_ms is not None:
        if not 0 <= wanted.latency_target_ms <= MOST_LATENCY_MS:
            raise Invalid(
                f"latency_target_ms is {wanted.latency_target_ms:g}, expected 0 (no target) to"
                f" {MOST_LATENCY_MS}"
            )
        asked["latency_target_s"] = wanted.latency_target_ms / 1e3
    return asked


class ModelControl:
    """The part of the inference area that people steer it by."""

    def __init__(
        self,
        pool: Pool,
        lifecycle: Lifecycle,
        knees: Knees[int],
        aliases: Aliases,
        load_of: LoadOf,
        *,
        rates: Knees[float],
        jobs: Jobs | None = None,
        warm_up_s: float = 3.0,
        limits: ModelLimits | None = None,
    ) -> None:
        self.aliases = aliases
        self._pool = pool
        self._lifecycle = lifecycle
        self._knees = knees
        self._rates = rates
        self._load_of = load_of
        self._jobs = jobs
        self._warm_up_s = warm_up_s
        self._limits = limits or ModelLimits()
        self._tasks = TaskOwner()
        self._switching = asyncio.Lock()
        if jobs:
            jobs.register(
                JobKind(TUNE, self._tune, resumable=True, exclusive=lambda _: "models.tune")
            )

    async def close(self) -> None:
        """Stop warming up."""
        await self._tasks.close()

    async def load(self, name: str, wanted: LoadRequest) -> RunningModel:
        """Load a model and give how it is then; see `Lifecycle.load`."""
        if wanted.device:
            self._worker(wanted.device)
        if wanted.ttl_s is not None and not 0 <= wanted.ttl_s <= 31_536_000:
            raise Invalid(f"ttl_s is {wanted.ttl_s:g}, expected 0 (for ever) to 31536000")
        asked = terms_of(wanted)
        if wanted.max_queued is not None and wanted.max_queued < 0:
            raise Invalid(f"max_queued is {wanted.max_queued}, expected 0 (no limit) or more")
        if wanted.timeout_s is not None and not 0 <= wanted.timeout_s <= 86_400:
            raise Invalid(f"timeout_s is {wanted.timeout_s:g}, expected 0 (none) to 86400")
        load = await self._load_of(name)
        worker = await self._lifecycle.load(
            load, device=wanted.device, pinned=wanted.pinned, ttl_s=wanted.ttl_s, **asked
        )
        self._limits.change(load.name, max_queued=wanted.max_queued, timeout_s=wanted.timeout_s)
        load = worker.held.wanted.get(load.key, load)
        if self._warm_up_s and not self._knees.get(tuned_as(load), worker.device):
            self._tasks.spawn(self._measure(worker, load, self._warm_up_s), name="model-warm-up")
        found = [m for m in self.running().items if m.device == worker.device.id]
        return next(m for m in found if f"{m.model}@{m.version}" == load.key)

    async def unload(self, name: str, device: str) -> UnloadReply:
        """Unload a model; see `Lifecycle.unload`.

        Raises:
            NotFound: no device holds it.
        """
        if device:
            self._worker(device)
        model = self.aliases.resolve(name)
        if not any(held.model == model for held in self.running().items):
            model = (await self._load_of(name)).name
        items = await self._lifecycle.unload(model, device=device)
        if not items:
            where = device or "any device"
            raise NotFound(f'model "{model}" is not loaded on {where}', hint="stackctl models ps")
        return UnloadReply(items=items)

    async def forget(self, name: str, *, known: bool) -> None:
        """Drop what is kept of a model whose files are gone.

        What was measured of one that may come back stays, and so do its aliases: whoever asks
        for them is told how to have it again.
        """
        if known:
            return
        loop = asyncio.get_running_loop()
        async with self._switching:
            for alias in self.aliases.of(name):
                await loop.run_in_executor(None, self.aliases.put, alias, None)
        await loop.run_in_executor(None, self._knees.forget, name)
        await loop.run_in_executor(None, self._rates.forget, name)
        await loop.run_in_executor(None, self._lifecycle.predictor.forget, name)

    def running(self) -> RunningList:
        """Give the models on devices."""
        return RunningList(items=self._running())

    async def survey(self) -> RunningList:
        """Give the models on devices, and what the workers that hold them really take."""
        workers = await self._lifecycle.reclaim.survey()
        return RunningList(items=self._running(), workers=workers)

    async def why(self, name: str) -> Placement:
        """Say where a model is, or would go, and why."""
        load = await self._load_of(name)
        candidates = await self._lifecycle.candidates(load)
        if not candidates:
            raise Failed("there is no device", hint="stackctl doctor")
        kind = candidates[0].worker.device.kind
        found = self._lifecycle.predictor.measured(load, kind)
        rates = {
            w.device.id: self._rates.get(tuned_as(w.held.wanted.get(load.key, load)), w.device)
            for w in self._pool.workers
        }
        return Placement(
            model=load.name,
            predicted_bytes=found.predicted_bytes if found else candidates[0].need.memory_bytes,
            measured_bytes=found.memory_bytes if found else None,
            prediction_error=_error(found),
            needed_bytes=candidates[0].need.memory_bytes,
            basis=candidates[0].need.basis,
            **self._limits.of(load.name)._asdict(),
            devices=[
                msgspec.structs.replace(verdict, rate_per_s=rates.get(verdict.device) or None)
                for verdict in explain(candidates, load.key)
            ],
        )

    def list_aliases(self) -> AliasList:
        """Give the aliases by name."""
        return AliasList(items=[Alias(alias=a, model=m) for a, m in self.aliases.all().items()])

    async def switch(self, alias: str, name: str) -> Alias:
        """Let an alias mean a model, once that model is loaded.

        Requests under way end on the old model, those after it begin on the new one: none
        waits for a load, and none fails for the switch.

        Raises:
            Conflict: the alias is a model's own name.
            Invalid: it cannot be a name.
        """
        reserved = alias in RESERVED_NAMES
        if reserved or not alias.strip() or len(alias) > 200 or alias != alias.strip():
            others = ", ".join(sorted(RESERVED_NAMES))
            raise Invalid(
                f'"{alias[:80]}" cannot be an alias, expected a name other than {others}',
                hint="stackctl config show" if alias == "default" else "",
            )
        async with self._switching:
            load = await self._load_of(name)
            # The versions of a model may be switched under the name that they share.
            shared = load.name.partition(":")[0] == alias != load.name
            if alias not in self.aliases.all() and await self._is_model(alias, shared=shared):
                raise Conflict(
                    f'"{alias}" is the name of a model, expected one that is free',
                    hint="stackctl models list",
                )
            await self._lifecycle.load(load)
            loop = asyncio.get_running_loop()
            previous = await loop.run_in_executor(None, self.aliases.put, alias, load.name)
        return Alias(alias=alias, model=load.name, previous=previous)

    async def drop(self, alias: str) -> Alias:
        """Forget an alias.

        Raises:
            NotFound: there is none of that name.
        """
        async with self._switching:
            if alias not in self.aliases.all():
                raise NotFound(f'no alias "{alias}"', hint="stackctl models list")
            loop = asyncio.get_running_loop()
            previous = await loop.run_in_executor(None, self.aliases.put, alias, None)
        return Alias(alias=alias, model="", previous=previous)

    async def tune(self, name: str) -> Job:
        """Start to find a model's batch budget on every device that holds it, or the best."""
        if self._jobs is None:
            raise Failed("this target runs no jobs", hint="stackctl up")
        load = await self._load_of(name)
        return await self._jobs.submit(TUNE, f"tune {load.name}", {"name": load.name})

    async def _tune(self, context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
        load = await self._load_of(str(params["name"]))
        workers = [w for w in self._pool.workers if load.key in w.models]
        workers = workers or [await self._lifecycle.load(load)]
        found = []
        for number, worker in enumerate(workers):
            context.progress(number, len(workers), unit="device", message=worker.device.id)
            context.check_cancelled()
            found.append(await self._measure(worker, load, _JOB_SECONDS))
        context.progress(len(workers), len(workers), unit="device")
        if not any(device["budget"] for device in found):
            raise Failed(f"{load.name}: {found[0]['message']}")
        return {"model": load.name, "devices": found}

    async def _measure(
        self, worker: WorkerHandle, load: wire.Load, seconds: float
    ) -> dict[str, Any]:
        """Measure on one device and keep what was found."""
        done = await worker.held.tune(load.key, seconds)
        if done.budget:
            loop = asyncio.get_running_loop()
            name = tuned_as(worker.held.wanted.get(load.key, load))
            await loop.run_in_executor(None, self._knees.put, name, worker.device, done.budget)
            best = next(row for row in done.rows if row.budget == done.budget)
            rate = best.items / max(best.duration_s, 1e-9)
            await loop.run_in_executor(None, self._rates.put, name, worker.device, rate)
        rows = [Row(r.budget, r.items, r.cost, r.duration_s) for r in done.rows]
        return {
            "device": worker.device.id,
            "budget": done.budget,
            "message": done.message,
            "rows": [
                {
                    "budget": row.budget,
                    "items": row.items,
                    "cost": row.cost,
                    "duration_s": row.duration_s,
                    "rate_per_s": row.rate,
                }
                for row in rows
            ],
        }

    def _running(self) -> list[RunningModel]:
        return [
            msgspec.structs.replace(held, **self._limits.of(held.model)._asdict())
            for held in self._lifecycle.running(self.aliases.of)
        ]

    async def _is_model(self, name: str, *, shared: bool) -> bool:
        try:
            found = (await self._load_of(name)).name
        except NotFound as err:
            return "not on this disk" in err.message
        return not shared or found == name

    def _worker(self, device: str) -> WorkerHandle:
        for worker in self._pool.workers:
            if worker.device.id == device:
                return worker
        known = ", ".join(worker.device.id for worker in self._pool.workers)
        raise NotFound(f'no device "{device}", expected one of: {known}', hint="stackctl devices")


def _error(found: Measured | None) -> float | None:
    """By how much a prediction was off: 0.1 is a tenth too much, -0.1 too little."""
    if found is None or not found.predicted_bytes:
        return None
    return found.predicted_bytes / found.memory_bytes - 1
