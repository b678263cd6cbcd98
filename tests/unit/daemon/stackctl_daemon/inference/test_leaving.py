"""A model that needs the room of one in use, on a real worker; what there is room for is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from tensor_graphs import filling

from stackctl.contracts.device import Device
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.held_models import LoadedModel
from stackctl_daemon.inference.lifecycle import Lifecycle
from stackctl_daemon.inference.placement import Measured, NoRoom, Predictor
from stackctl_daemon.inference.pool import Pool, Task
from stackctl_daemon.inference.ports import Room
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import WorkerHandle

MODEL, OWN, ALL = 100_000_000, 60_000_000, 200_000_000


class OneModel:
    """A device with room for one model beside its worker."""

    worker: WorkerHandle

    def room(self, device: Device, pid: int | None) -> Room:
        used = (OWN if pid else 0) + MODEL * len(self.worker.models)
        return Room(used, ALL - used, used)


def took(worker: WorkerHandle, model: LoadedModel) -> None:
    model.memory_bytes = MODEL


@asynccontextmanager
async def full(*loads: wire.Load) -> AsyncIterator[tuple[Pool, Lifecycle]]:
    meter, predictor = OneModel(), Predictor(StateFile(None, Measured))
    for load in loads:
        predictor.learn(load, "cpu", MODEL)
    worker = meter.worker = WorkerHandle(
        Device(id="cpu:0", kind="cpu", name="cpu"),
        batch_tokens=16,
        on_batch=lambda device, batch: None,
        on_loaded=took,
    )
    workers = [worker]
    lifecycle = Lifecycle(workers, predictor, meter, budget_of=lambda load, worker: 0)
    pool = Pool(max_queued=100, admit=lifecycle.admit)
    pool.workers = workers
    worker.start()
    try:
        async with asyncio.timeout(60):
            yield pool, lifecycle
    finally:
        await worker.close()
        await lifecycle.close()


async def ask(pool: Pool, load: wire.Load, deadline: float = 0.0) -> None:
    inputs = [Input(tensors={"n": np.array([2, 2])})]
    await pool.run(Task(load, inputs, deadline=deadline))


async def asking(pool: Pool, load: wire.Load, answered: list[str]) -> None:
    while True:
        await ask(pool, load)
        answered.append(load.name)


def test_models_that_are_always_in_use_take_turns_in_the_room_of_one(tmp_path: Path) -> None:
    first, second = filling(tmp_path, name="first"), filling(tmp_path, name="second")

    async def run() -> None:
        async with full(first, second) as (pool, _):
            await ask(pool, first)
            answered: list[str] = []
            busy = [asyncio.ensure_future(asking(pool, first, answered)) for _ in range(3)]
            for _ in range(3):
                await ask(pool, second)
                answered.clear()
                while not answered:  # the other gets its turn again
                    await asyncio.sleep(0)
            for task in busy:
                task.cancel()
            ended = await asyncio.gather(*busy, return_exceptions=True)

            assert all(isinstance(end, asyncio.CancelledError) for end in ended)
            assert pool.queued == 0

    asyncio.run(run())


def test_a_pinned_model_that_is_in_use_is_not_waited_for(tmp_path: Path) -> None:
    first, second = filling(tmp_path, name="first"), filling(tmp_path, name="second")

    async def run() -> None:
        async with full(first, second) as (pool, lifecycle):
            await lifecycle.load(first, pinned=True)
            busy = asyncio.ensure_future(asking(pool, first, []))

            with pytest.raises(NoRoom, match="no device has room"):
                await ask(pool, second)

            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)

    asyncio.run(run())
