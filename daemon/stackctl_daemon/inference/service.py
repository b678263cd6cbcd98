"""Models on devices for the rest of the daemon: which model, how it is asked, what came of it.

Refuses to compute, which the workers do, and to route, which the pool does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stackctl.contracts.device import Device
from stackctl.contracts.model import ModelEntry
from stackctl.errors import Invalid, ModelCorrupt, NotFound, StackctlError, Unreachable
from stackctl.settings import InferenceSettings
from stackctl_daemon.events import EventSink, new_event
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.ask import (
    PLAINLY,
    Ask,
    Done,
    Embedded,
    account,
    load_message,
    task_of,
)
from stackctl_daemon.inference.bodies import rows_of, unpack_results
from stackctl_daemon.inference.calibration import Knees, tuned_as
from stackctl_daemon.inference.control import Aliases, ModelControl
from stackctl_daemon.inference.lifecycle import UNLOAD_TIMEOUT_S, Lifecycle
from stackctl_daemon.inference.limits import ModelLimits
from stackctl_daemon.inference.memory import HostMeter
from stackctl_daemon.inference.placement import Measured, NoRoom, Predictor
from stackctl_daemon.inference.pool import Outcome, Pool, Task
from stackctl_daemon.inference.ports import Meter, ModelStore, ReadyModel
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import WorkerHandle
from stackctl_daemon.inference.worker_process import Spawn, spawn
from stackctl_daemon.jobs import Jobs
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

_TRUST_S = 1.0
"""For how long a model's files are believed unchanged: looking costs more than a small batch."""


class _Known(NamedTuple):
    ready: ReadyModel
    load: wire.Load
    checked_at: float


class _Ended(NamedTuple):
    outcomes: list[Outcome]
    error: Exception | None


class InferenceService:
    """The inference area; also search's embedder."""

    def __init__(
        self,
        settings: InferenceSettings,
        devices: Sequence[Device],
        model_store: ModelStore,
        event_sink: EventSink,
        *,
        wedge_timeout_s: float = 120.0,
        data_dir: Path | None = None,
        meter: Meter | None = None,
        jobs: Jobs | None = None,
        spawn: Spawn = spawn,
    ):
        self._settings = settings
        self._store = model_store
        self._sink = event_sink
        self._devices = list(devices)
        self._wedge_timeout_s = wedge_timeout_s
        self._tasks = TaskOwner()
        self._known: dict[str, _Known] = {}
        self._does: dict[str, str] = {}
        """Tasks by model."""
        self._leaving: set[str] = set()
        """Models that are being removed."""
        self._spawn = spawn
        state = data_dir / "inference" if data_dir else None
        self.knees = Knees(StateFile(state and state / "budgets.json", int))
        self.pool = Pool(max_queued=settings.max_queued_texts, admit=self._admit)
        self.lifecycle = Lifecycle(
            self.pool.workers,
            Predictor(StateFile(state and state / "memory.json", Measured)),
            meter or HostMeter(),
            budget_of=lambda load, worker: self.knees.get(tuned_as(load), worker.device),
            keep_alive_s=settings.keep_alive_s,
        )
        self.limits = ModelLimits()
        rates = Knees(StateFile(state and state / "rates.json", float))
        self.control = ModelControl(
            self.pool,
            self.lifecycle,
            self.knees,
            Aliases(StateFile(state and state / "aliases.json", str)),
            self.load_of,
            jobs=jobs,
            warm_up_s=settings.warm_up_s,
            limits=self.limits,
            rates=rates,
        )

    async def start(self) -> None:
        """Watch over the workers and warm them up in the background."""
        for device in self._devices:
            worker = WorkerHandle(
                device,
                batch_tokens=self._settings.batch_tokens,
                on_batch=self._record,
                wedge_timeout_s=self._wedge_timeout_s,
                on_loaded=self.lifecycle.learned,
                spawn=self._spawn,
            )
            worker.start()
            self.pool.workers.append(worker)
        self.lifecycle.start()
        self._tasks.spawn(self._warm(), name="inference-warm")

    async def close(self) -> None:
        """End the workers."""
        await self._tasks.close()
        await self.control.close()
        await self.lifecycle.close()
        await asyncio.gather(*(worker.close() for worker in self.pool.workers))

    async def embed(
        self, texts: Sequence[str], *, model: str, priority: wire.Priority
    ) -> Embedded:
        """Embed any number of texts, in order; see `embed_texts`."""
        return await self.embed_texts(texts, model=model, ask=Ask(priority=priority))

    async def embed_texts(
        self, texts: Sequence[str], *, model: str = "default", ask: Ask = PLAINLY
    ) -> Embedded:
        """Embed texts on the least loaded devices.

        Raises:
            Overloaded: the queue is full.
            NotFound: the model is not here.
            ModelCorrupt: its files are wrong.
            Invalid: the model does not embed text.
            TimedOut: ``ask.timeout_s`` passed.
            WorkerCrashed: the texts end every worker they meet.
            Failed: no device can run the model.
        """
        known = await self._lookup(model)
        entry = known.ready.entry
        if entry.task != "embedding":
            raise Invalid(
                f'model "{entry.name}" does {entry.task}, not embedding',
                hint="stackctl models list",
            )
        inputs = [Input(text=text) for text in texts]
        outcomes = await self._run(
            task_of(known.load, inputs, ask, self.limits.of(known.load.name))
        )
        rows = [rows_of(outcome.answer, outcome.body) for outcome in outcomes]
        vectors = rows[0] if len(rows) == 1 else np.concatenate(rows) if rows else None
        if vectors is None:
            vectors = np.empty((0, entry.dimensions), np.float32)
        return Embedded(vectors=vectors, **account(entry, outcomes))

    async def run(
        self, inputs: Sequence[Input], *, model: str = "default", ask: Ask = PLAINLY
    ) -> Done:
        """Compute inputs of any kind; raises as `embed_texts`."""
        known = await self._lookup(model)
        outcomes = await self._run(
            task_of(known.load, inputs, ask, self.limits.of(known.load.name))
        )
        results = [r for o in outcomes for r in unpack_results(o.answer, o.body)]
        return Done(results=results, **account(known.ready.entry, outcomes))

    async def stream(
        self, item: Input, *, model: str = "default", ask: Ask = PLAINLY
    ) -> AsyncGenerator[Any, None]:
        """Compute one input: pieces (plain values) as they come about, `Done` last.

        What `run` raises comes before the first piece, but for a worker that dies on it. A model
        that does not stream is `Invalid`. Whoever closes it ends the work.
        """
        known = await self._lookup(model)
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        limits = self.limits.of(known.load.name)
        task = task_of(
            known.load, [item], ask, limits, on_part=lambda part: pieces.put_nowait(part.value)
        )

        async def work() -> None:
            # Whatever becomes of it, the reader is told: also where the service closes.
            ended = _Ended([], Unreachable(f"{task.load.name}: the daemon is ending"))
            try:
                ended = _Ended(await self._run(task), None)
            except StackctlError as err:
                ended = _Ended([], err)
            except Exception as err:
                ended = _Ended([], err)
                raise
            finally:
                pieces.put_nowait(ended)

        running = self._tasks.spawn(work(), name="inference-stream")
        try:
            while not isinstance(piece := await pieces.get(), _Ended):
                yield piece
        finally:
            running.cancel()  # whoever reads may stop at any piece
        if piece.error:
            raise piece.error
        outcomes = piece.outcomes
        results = [r for o in outcomes for r in unpack_results(o.answer, o.body)]
        yield Done(results=results, **account(known.ready.entry, outcomes))

    def live(self) -> dict[str, dict[str, Any]]:
        """Give each device's worker: values of the fields of `Device` that are ours."""
        return {
            worker.device.id: {
                "worker_state": worker.state,
                "worker_pid": worker.pid,
                "worker_restarts": worker.restarts,
                "execution_provider": ", ".join(
                    sorted({model.execution_provider for model in worker.models.values()})
                ),
                "models": sorted(model.load.name for model in worker.models.values()),
                "queued": worker.queued,
                "models_memory_bytes": sum(m.memory_bytes for m in worker.models.values()),
            }
            for worker in self.pool.workers
        }

    def problems(self) -> list[str]:
        """Give what keeps a device from being used, in words."""
        return [worker.problem for worker in self.pool.workers if worker.problem]

    def loaded_on(self, model: str) -> list[str]:
        """Give the ids of the devices that hold a model now."""
        return [
            worker.device.id
            for worker in self.pool.workers
            if any(held.load.name == model for held in worker.models.values())
        ]

    async def entry(self, model: str) -> ModelEntry:
        """Give the entry of a model whose files are here, by name, alias or ``default``."""
        return (await self._lookup(model)).ready.entry

    @asynccontextmanager
    async def leaving(self, name: str) -> AsyncIterator[None]:
        """Keep a model off the devices: it is unloaded, and new requests for it are refused.

        Raises:
            Conflict: requests that came before still use it after half a minute.
        """
        self._leaving.add(name)
        try:
            await self.pool.drained(name, UNLOAD_TIMEOUT_S)
            await self.lifecycle.unload(name)
            yield
        finally:
            self._leaving.discard(name)

    async def forget(self, name: str, *, known: bool) -> None:
        """Drop what is kept of a model whose files are gone; see `ModelControl.forget`."""
        self._known = {
            asked: found for asked, found in self._known.items() if found.load.name != name
        }
        self.limits.forget(name)
        await self.control.forget(name, known=known)

    async def load_of(self, model: str) -> wire.Load:
        """Give the message that loads a model; raises as `entry`."""
        return (await self._lookup(model)).load

    async def _run(self, task: Task) -> list[Outcome]:
        try:
            return await self.pool.run(task)
        except StackctlError as err:
            err.model = task.load.name
            raise

    async def _admit(self, worker: WorkerHandle, load: wire.Load, *, evict: bool = True) -> None:
        await self.lifecycle.admit(worker, load, evict=evict)

    async def _lookup(self, model: str) -> _Known:
        name = self._settings.default_model if model == "default" else model
        name = self.control.aliases.resolve(name)
        known, now = self._known.get(name), time.monotonic()
        if known is None or now - known.checked_at > _TRUST_S:
            if known is not None:
                # One looks; whoever comes meanwhile goes by the look before.
                self._known[name] = known._replace(checked_at=now)
            try:
                ready = await self._store.ready(name)
            except BaseException:
                self._known.pop(name, None)
                raise
            load = msgspec.structs.replace(
                load_message(ready), latency_target_s=self._settings.latency_target_ms / 1e3
            )
            known = self._known[name] = _Known(ready, load, time.monotonic())
            self.limits.learn(ready.entry)
            self._does[load.name] = ready.entry.task
        if known.load.name in self._leaving:
            raise NotFound(
                f'model "{known.load.name}" is being removed', hint="stackctl models list"
            )
        return known

    async def _warm(self) -> None:
        try:
            known = await self._lookup("default")
        except (NotFound, ModelCorrupt):
            return  # said again to the first who asks, and by the model area's health
        for worker in self.pool.candidates():
            try:
                await self.lifecycle.admit(worker, known.load)
            except NoRoom as err:
                log.warning("model_not_warmed %s", err.message)

    def _record(self, device: str, batch: wire.Computed) -> None:
        self._sink.emit(
            new_event(
                "inference",
                self._does[batch.name],
                model=batch.name,
                device=device,
                items=batch.items,
                tokens=batch.tokens,
                duration_s=batch.duration_s,
                attributes={"padded_tokens": batch.padded_tokens, "queue_s": batch.queue_s},
            )
        )
