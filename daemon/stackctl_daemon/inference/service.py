"""Texts to vectors over all devices: admission, splitting, routing, events.

Refuses to compute: the workers do.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stackctl.contracts.device import Device
from stackctl.errors import Failed, ModelCorrupt, NotFound, Overloaded, WorkerCrashed
from stackctl.settings import InferenceSettings
from stackctl_daemon.events import EventSink, new_event
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.ports import ModelStore, ReadyModel
from stackctl_daemon.inference.worker_handle import DeviceFault, Piece, WorkerHandle
from stackctl_daemon.tasks import TaskOwner

_PIECE_TEXTS = 256
"""Texts in a piece at most: bounds a frame, and what one death repeats."""
_SPLIT_FROM = 4
"""Texts per device below which a call is not worth splitting."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of a call, and how they came about."""

    vectors: npt.NDArray[np.float32]
    """``(count, dimensions)``, L2-normalised rows, in the order of the texts."""
    model: str
    tokens: int
    truncated: int
    device: str
    """Ids of the devices that took part, joined by commas."""
    execution_provider: str
    queue_s: float
    compute_s: float


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
    ):
        self._settings = settings
        self._store = model_store
        self._sink = event_sink
        self._devices = list(devices)
        self._wedge_timeout_s = wedge_timeout_s
        self._workers: list[WorkerHandle] = []
        self._tasks = TaskOwner()
        self._queued = 0
        self._rate = 50.0
        self._answered_at = 0.0

    async def start(self) -> None:
        """Watch over the workers and warm them up in the background."""
        for device in self._devices:
            worker = WorkerHandle(
                device,
                batch_tokens=self._settings.batch_tokens,
                on_batch=self._record,
                wedge_timeout_s=self._wedge_timeout_s,
            )
            worker.start()
            self._workers.append(worker)
        self._tasks.spawn(self._warm(), name="inference-warm")

    async def close(self) -> None:
        """End the workers."""
        await self._tasks.close()
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def embed(
        self, texts: Sequence[str], *, model: str, priority: wire.Priority
    ) -> Embedded:
        """Embed any number of texts, in order; see `embed_texts`."""
        return await self.embed_texts(texts, model=model, priority=priority)

    async def embed_texts(
        self,
        texts: Sequence[str],
        *,
        model: str = "default",
        priority: wire.Priority = "interactive",
    ) -> Embedded:
        """Embed texts on the least loaded devices.

        Raises:
            Overloaded: the queue is full.
            NotFound: the model is not here.
            ModelCorrupt: its files are wrong.
            WorkerCrashed: the texts end every worker they meet.
            Failed: no device can run the model.
        """
        ready = await self._ready(model)
        load = _load(ready)
        limit = self._settings.max_queued_texts
        # A call larger than the whole queue goes through it in parts.
        window = len(texts) if len(texts) <= limit else max(1, limit // 2)
        answers: list[tuple[WorkerHandle, wire.Embedded, bytes]] = []
        for start in range(0, len(texts), max(1, window)):
            part = list(texts[start : start + window])
            answers += await self._admit(load, part, priority)
        return _join(ready, answers)

    def live(self) -> dict[str, dict[str, Any]]:
        """Give each device's worker: values of the fields of `Device` that are ours."""
        return {
            worker.device.id: {
                "worker_state": worker.state,
                "worker_pid": worker.pid,
                "worker_restarts": worker.restarts,
                "execution_provider": ", ".join(sorted(set(worker.providers.values()))),
                "models": sorted(worker.providers),
            }
            for worker in self._workers
        }

    def problems(self) -> list[str]:
        """Give what keeps a device from being used, in words."""
        return [worker.problem for worker in self._workers if worker.problem]

    def loaded_on(self, model: str) -> list[str]:
        """Give the ids of the devices that hold a model now."""
        return [worker.device.id for worker in self._workers if model in worker.providers]

    @property
    def queued_texts(self) -> int:
        """Texts admitted and not answered."""
        return self._queued

    async def _ready(self, model: str) -> ReadyModel:
        name = self._settings.default_model if model == "default" else model
        return await self._store.ready(name)

    async def _warm(self) -> None:
        try:
            load = _load(await self._ready("default"))
        except (NotFound, ModelCorrupt):
            return  # said again to the first who asks, and by the model area's health
        for worker in self._candidates(set()):
            worker.warm(load)

    async def _admit(
        self, load: wire.Load, texts: list[str], priority: wire.Priority
    ) -> list[tuple[WorkerHandle, wire.Embedded, bytes]]:
        if self._queued + len(texts) > self._settings.max_queued_texts:
            wait_s = min(60.0, max(0.1, self._queued / self._rate))
            raise Overloaded(
                f"{self._queued} texts are queued, {len(texts)} more are above "
                f"{self._settings.max_queued_texts}",
                hint="stackctl devices list",
                retry_after_s=round(wait_s, 1),
            )
        self._queued += len(texts)
        begun = time.monotonic()
        try:
            parts = self._split(texts)
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self._run(load, part, priority)) for part in parts]
            rate = len(texts) / max(time.monotonic() - begun, 1e-3)
            self._rate += 0.2 * (rate - self._rate)
            return [answer for task in running for answer in task.result()]
        except ExceptionGroup as err:
            # One is enough to say: the parts of a call fail alike.
            raise _first(err) from None
        finally:
            self._queued -= len(texts)

    def _split(self, texts: list[str]) -> list[list[str]]:
        devices = max(1, len(self._candidates(set())))
        pieces = min(devices, max(1, len(texts) // _SPLIT_FROM))
        # Several pieces a device, so that a slower one gets fewer of them.
        if pieces > 1:
            pieces = min(devices * 4, max(devices, len(texts) // 16))
        size = min(_PIECE_TEXTS, -(-len(texts) // pieces))
        return [texts[i : i + size] for i in range(0, len(texts), size)]

    async def _run(
        self, load: wire.Load, texts: list[str], priority: wire.Priority
    ) -> list[tuple[WorkerHandle, wire.Embedded, bytes]]:
        """Compute the texts; those whose workers keep dying are halved until one stands alone.

        A long piece may just have been unlucky: halves are shorter in the line of fire, and a
        text that really ends workers is in the end refused by itself.
        """
        try:
            return [await self._run_whole(load, texts, priority)]
        except WorkerCrashed:
            if len(texts) == 1:
                raise
        half = len(texts) // 2
        first = await self._run(load, texts[:half], priority)
        return first + await self._run(load, texts[half:], priority)

    async def _run_whole(
        self, load: wire.Load, texts: list[str], priority: wire.Priority
    ) -> tuple[WorkerHandle, wire.Embedded, bytes]:
        tried: set[str] = set()
        fault: DeviceFault | None = None
        while workers := self._candidates(tried):
            worker = min(workers, key=lambda w: (w.state == "failed", w.load))
            piece = Piece(
                load,
                texts,
                priority,
                sum(map(len, texts)) + len(texts),
                asyncio.get_running_loop().create_future(),
            )
            try:
                report, data = await worker.run(piece)
                return worker, report, data
            except DeviceFault as err:
                tried.add(worker.device.id)
                fault = err
        raise fault or Failed("no device can compute", hint="stackctl devices list")

    def _candidates(self, tried: set[str]) -> list[WorkerHandle]:
        """Give the usable GPUs, or else the CPU devices; one with a fault is a last resort."""
        left = [worker for worker in self._workers if worker.device.id not in tried]
        sound = [worker for worker in left if not worker.problem]
        gpus = [worker for worker in sound if worker.device.kind == "cuda"]
        return gpus or sound or left

    def _record(self, device: str, batch: wire.Computed) -> None:
        self._sink.emit(
            new_event(
                "inference",
                "embed",
                model=batch.name,
                device=device,
                items=batch.items,
                tokens=batch.tokens,
                duration_s=batch.duration_s,
            )
        )


def _load(ready: ReadyModel) -> wire.Load:
    entry = ready.entry
    digest = hashlib.sha256("".join(file.sha256 for file in entry.files).encode()).hexdigest()
    return wire.Load(
        key=f"{entry.name}@{digest[:16]}",
        name=entry.name,
        graph=str(ready.graph),
        tokenizer=str(ready.tokenizer),
        max_tokens=entry.max_tokens,
        dimensions=entry.dimensions,
    )


def _join(ready: ReadyModel, answers: list[tuple[WorkerHandle, wire.Embedded, bytes]]) -> Embedded:
    reports = [report for _, report, _ in answers]
    data = b"".join(body for _, _, body in answers)
    vectors = np.frombuffer(data, "<f4").reshape(-1, ready.entry.dimensions)
    return Embedded(
        vectors=vectors,
        model=ready.entry.name,
        tokens=sum(report.tokens for report in reports),
        truncated=sum(report.truncated for report in reports),
        device=",".join(sorted({worker.device.id for worker, _, _ in answers})),
        execution_provider=",".join(sorted({report.execution_provider for report in reports})),
        queue_s=max((report.queue_s for report in reports), default=0.0),
        compute_s=sum(report.compute_s for report in reports),
    )


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
