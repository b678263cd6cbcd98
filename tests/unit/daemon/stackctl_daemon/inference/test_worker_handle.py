"""A device's worker as the daemon sees it: real processes that say too much, hang, or end."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tensor_graphs import counting, filling
from waiting import until_on_loop

from stackctl.contracts.device import Device
from stackctl.errors import Invalid, TooLarge, WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.held_models import WorkerClosed
from stackctl_daemon.inference.lifecycle import Lifecycle
from stackctl_daemon.inference.memory import HostMeter
from stackctl_daemon.inference.placement import Measured, Predictor
from stackctl_daemon.inference.pool import Pool, Task
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import FIRST_RETRY_S, WorkerHandle
from stackctl_daemon.inference.worker_process import Spawn, WorkerProcess, spawn

WAIT_S = 60.0


@asynccontextmanager
async def device(
    *, start: Spawn = spawn, wedge_timeout_s: float = WAIT_S
) -> AsyncIterator[tuple[WorkerHandle, Pool]]:
    worker = WorkerHandle(
        Device(id="cpu:0", kind="cpu", name="cpu"),
        batch_tokens=16,
        on_batch=lambda device, batch: None,
        wedge_timeout_s=wedge_timeout_s,
        spawn=start,
    )
    worker.start()
    pool = Pool(max_queued=100)
    pool.workers.append(worker)
    try:
        async with asyncio.timeout(WAIT_S):
            yield worker, pool
    finally:
        await worker.close()


async def ask(pool: Pool, load: wire.Load, *numbers: int) -> list[int]:
    """Give the shape of what a graph of `tensor_graphs` answers."""
    task = Task(load, [Input(tensors={"n": np.array(numbers, np.int64)})])
    [outcome] = await pool.run(task)
    return outcome.answer.tensors[0].shape


def test_an_answer_that_no_frame_holds_is_refused_and_the_device_goes_on(tmp_path: Path) -> None:
    load = filling(tmp_path)

    async def run() -> None:
        async with device() as (worker, pool):
            assert await ask(pool, load, 1, 3) == [1, 3]
            pid = worker.pid

            with pytest.raises(TooLarge, match=f"expected at most {wire.MAX_FRAME_BYTES}"):
                await ask(pool, load, 1, wire.MAX_FRAME_BYTES // 4)

            assert await ask(pool, load, 1, 2) == [1, 2]
            assert (worker.pid, worker.restarts) == (pid, 0)

    asyncio.run(run())


def test_inputs_that_no_frame_holds_are_refused_before_they_are_kept(tmp_path: Path) -> None:
    load = filling(tmp_path)

    async def run() -> None:
        async with device() as (worker, pool):
            huge = Input(data=bytes(wire.MAX_FRAME_BYTES))
            with pytest.raises(TooLarge):
                await pool.run(Task(load, [huge]))

            assert (worker.queued, worker.load) == (0, 0)
            assert await ask(pool, load, 1, 2) == [1, 2]

    asyncio.run(run())


def test_a_text_that_cannot_be_sent_leaves_nothing_behind(tmp_path: Path) -> None:
    load = filling(tmp_path)

    async def run() -> None:
        async with device() as (worker, pool):
            await ask(pool, load, 1, 1)

            with pytest.raises(Invalid, match="surrogates not allowed"):
                await pool.run(Task(load, [Input(text="\udc80")]))

            assert (worker.queued, worker.load, worker.in_use(load.key)) == (0, 0, 0)
            assert await ask(pool, load, 1, 2) == [1, 2]

    asyncio.run(run())


def test_a_text_that_cannot_be_sent_is_refused_once_the_worker_is_there(tmp_path: Path) -> None:
    load = filling(tmp_path)

    async def run() -> None:
        async with device() as (worker, pool):
            async with asyncio.TaskGroup() as group:
                good = group.create_task(ask(pool, load, 1, 2))
                with pytest.raises(Invalid, match="surrogates not allowed"):
                    await pool.run(Task(load, [Input(text="\udc80")]))

            assert good.result() == [1, 2]
            assert (worker.queued, worker.restarts) == (0, 0)

    asyncio.run(run())


def test_a_model_whose_path_cannot_be_sent_is_refused_and_others_are_loaded(
    tmp_path: Path,
) -> None:
    bad = wire.Load("bad@1", "bad", "tensor-graph", "/m/\udcff", "", "", 0, 0)

    async def run() -> None:
        async with device() as (worker, pool):
            worker.warm(bad)
            with pytest.raises(Exception, match="surrogates not allowed"):
                await worker.held.opened("bad@1")

            assert await ask(pool, filling(tmp_path), 1, 2) == [1, 2]
            assert worker.restarts == 0

    asyncio.run(run())


BABBLE = (
    "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall({!r}); s.recv(1)"
)


class Babbling:
    """Starts processes that say what cannot be read, and then real workers."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)

    async def __call__(
        self, device: Device, *, batch_tokens: int, share_weights: bool
    ) -> WorkerProcess:
        if not self._said:
            return await spawn(device, batch_tokens=batch_tokens, share_weights=share_weights)
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-S", "-c", BABBLE.format(self._said.pop(0))]
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return WorkerProcess(process, reader, writer)


def test_a_worker_that_cannot_be_understood_is_ended_and_another_one_answers(
    tmp_path: Path,
) -> None:
    load = filling(tmp_path)
    header = b"\xc1 is no msgpack"

    async def run() -> None:
        start = Babbling(
            wire.PREFIX.pack(100, wire.MAX_FRAME_BYTES),
            wire.PREFIX.pack(len(header), 0) + header,
        )
        async with device(start=start) as (worker, pool):
            assert await ask(pool, load, 1, 2) == [1, 2]

            assert (worker.restarts, worker.state, worker.sound) == (2, "ready", True)

    asyncio.run(run())


def keeping(pool: Pool, unload_timeout_s: float = WAIT_S) -> Lifecycle:
    return Lifecycle(
        pool.workers,
        Predictor(StateFile(None, Measured)),
        HostMeter(),
        budget_of=lambda load, worker: 0,
        unload_timeout_s=unload_timeout_s,
    )


FOR_EVER = 10**13
"""Steps of `counting`."""


async def asking(pool: Pool, load: wire.Load) -> None:
    """Ask a model again and again, whatever comes of it."""
    for number in itertools.count(1):
        await ask(pool, load, number % 7 + 1, 2)


def test_a_replica_that_hangs_is_noticed_while_others_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted = msgspec.structs.replace(counting(tmp_path), replicas=2)
    other = filling(tmp_path)

    async def run() -> None:
        async with device(wedge_timeout_s=3.0) as (worker, pool):
            await ask(pool, counted, 1)
            others = asyncio.ensure_future(asking(pool, other))

            with pytest.raises(WorkerCrashed, match="2 workers of cpu:0 died"):
                await ask(pool, counted, FOR_EVER)

            assert worker.restarts == 2
            wedged = [text for text in caplog.messages if text.startswith("worker_wedged")]
            assert "job_s=" in wedged[0]
            assert not others.done()
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)
            assert await ask(pool, other, 1, 2) == [1, 2]

    asyncio.run(run())


def test_a_model_whose_job_hangs_for_nobody_is_unloaded_while_others_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted = msgspec.structs.replace(counting(tmp_path), replicas=2)
    other = filling(tmp_path)

    async def run() -> None:
        async with device(wedge_timeout_s=3.0) as (worker, pool):
            lifecycle = keeping(pool)
            await ask(pool, counted, 1)
            await ask(pool, other, 1, 1)
            hung = asyncio.ensure_future(ask(pool, counted, FOR_EVER))
            await until_on_loop(lambda: worker.in_use(counted.key) == 1)
            await ask(pool, other, 1, 1)  # the worker has begun the other by now
            hung.cancel()
            await asyncio.gather(hung, return_exceptions=True)
            others = asyncio.ensure_future(asking(pool, other))

            [gone] = await lifecycle.unload("counting")

            assert gone.model == "counting"
            assert not others.done()
            wedged = [text for text in caplog.messages if text.startswith("worker_wedged")]
            assert len(wedged) == 1
            assert "job_s=" in wedged[0]
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)
            await lifecycle.close()

    asyncio.run(run())


def test_a_process_that_does_not_close_a_model_is_ended(tmp_path: Path) -> None:
    load, other = filling(tmp_path), filling(tmp_path, name="other")

    async def run() -> None:
        async with device() as (worker, pool):
            lifecycle = keeping(pool, unload_timeout_s=0.2)
            await ask(pool, load, 1, 1)
            await ask(pool, other, 1, 1)
            pid = worker.pid
            assert pid
            os.kill(pid, signal.SIGSTOP)

            [gone] = await lifecycle.unload("filling")

            assert gone.model == "filling"
            assert await ask(pool, other, 1, 2) == [1, 2]
            assert worker.pid != pid
            await lifecycle.close()

    asyncio.run(run())


def test_what_is_asked_of_a_process_that_is_gone_is_settled_at_once(tmp_path: Path) -> None:
    load = filling(tmp_path)

    async def run() -> None:
        async with device() as (worker, pool):
            await ask(pool, load, 1, 1)
            assert worker.pid
            os.kill(worker.pid, signal.SIGKILL)
            await worker.held.until(lambda: worker.pid is None)

            assert await worker.held.trim() == 0
            tuned = await worker.held.tune(load.key, 1.0)

            assert (tuned.budget, tuned.message) == (0, "the worker of cpu:0 is not running")
            await worker.held.opened(load.key)
            assert worker.held.state(load.key, in_use=False) == "idle"
            assert not worker.held.awaited
            assert await worker.held.trim() >= 0  # the new process is asked

    asyncio.run(run())


def test_a_list_that_waits_when_the_worker_is_closed_gets_an_error(tmp_path: Path) -> None:
    load = counting(tmp_path)
    hung = [Input(tensors={"n": np.array([FOR_EVER])})] * 3

    async def run() -> None:
        async with device() as (worker, pool):
            await ask(pool, load, 1)
            call = asyncio.ensure_future(pool.run(Task(load, hung)))
            await until_on_loop(lambda: worker.queued)

            await worker.close()

            with pytest.raises(WorkerClosed, match="cpu:0 was closed"):
                await call
            with pytest.raises(WorkerClosed, match="cpu:0 was closed"):
                await ask(pool, load, 1)
            assert pool.queued == 0

    asyncio.run(run())


def test_a_loss_that_every_model_of_a_device_tells_is_one_loss() -> None:
    async def run() -> None:
        now = 100.0
        worker = WorkerHandle(
            Device(id="cpu:0", kind="cpu", name="cpu"),
            batch_tokens=16,
            on_batch=lambda device, batch: None,
            clock=lambda: now,
        )
        for name in ("a", "b", "c", "d", "e"):
            worker.held.hear(wire.LoadFailed(f"{name}@1", name, "GPU is lost", "", True))

        assert worker.retry_in_s == FIRST_RETRY_S
        now += FIRST_RETRY_S
        assert worker.sound
        worker.held.hear(wire.LoadFailed("a@1", "a", "GPU is lost", "", True))
        assert worker.retry_in_s == 2 * FIRST_RETRY_S

    asyncio.run(run())
