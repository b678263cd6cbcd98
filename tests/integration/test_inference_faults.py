"""Real workers, the real model: death, wedging, and a daemon that was killed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys

import numpy as np
import pytest
from faults.inference import WEIGHTS, inference_run
from inference_stack import Sink, busy, direct, pid_of, sentences, with_service
from waiting import until_on_loop

from stackctl.errors import WorkerCrashed
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model


def test_killed_worker_answers_every_request_after_its_restart(store: ModelService) -> None:
    texts = sentences(150)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(service.embed_texts(texts[i : i + 10]))
                for i in range(0, len(texts), 10)
            ]
            await busy(service, sink)
            first = await pid_of(service)
            os.kill(first, signal.SIGKILL)

        vectors = np.concatenate([call.result().vectors for call in calls])
        np.testing.assert_allclose(vectors, expected, atol=2e-5)
        state = service.live()["cpu:0"]
        assert state["worker_restarts"] == 1
        assert state["worker_pid"] != first
        assert service.pool.queued == 0

    with_service(store, body)


def test_text_that_sees_three_deaths_alone_fails(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        async def killer() -> None:
            last = None
            while True:
                last = await pid_of(service, other_than=last)
                await until_on_loop(lambda: service.pool.queued)
                os.kill(last, signal.SIGKILL)

        killing = asyncio.ensure_future(killer())
        with pytest.raises(WorkerCrashed, match="SIGKILL"):
            await service.embed_texts(["word " * 250])
        killing.cancel()

        assert len((await service.embed_texts(["still here"])).vectors) == 1

    with_service(store, body)


def test_many_texts_outlive_more_deaths_than_one_may_see(store: ModelService) -> None:
    """Found by the fault run: three unlucky kills of an innocent batch failed an index job."""
    texts = sentences(200)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        call = asyncio.ensure_future(service.embed_texts(texts))
        for _ in range(4):
            await busy(service, sink)
            sink.events.clear()
            os.kill(await pid_of(service), signal.SIGKILL)

        np.testing.assert_allclose((await call).vectors, expected, atol=2e-5)
        assert service.live()["cpu:0"]["worker_restarts"] == 4

    with_service(store, body)


def test_wedged_worker_is_killed_and_its_request_answered(store: ModelService) -> None:
    texts = sentences(60)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        sink.events.clear()
        call = asyncio.ensure_future(service.embed_texts(texts))
        await busy(service, sink)
        os.kill(await pid_of(service), signal.SIGSTOP)

        np.testing.assert_allclose((await call).vectors, expected, atol=2e-5)
        assert service.live()["cpu:0"]["worker_restarts"] == 1

    with_service(store, body, wedge_timeout_s=3.0)


HOST = """
import asyncio, sys
from stackctl.contracts.device import Device
from stackctl_daemon.inference.worker_handle import WorkerHandle

async def main():
    device = Device(id="cpu:0", kind="cpu", name="cpu")
    worker = WorkerHandle(device, batch_tokens=512, on_batch=lambda device, batch: None)
    worker._wanted.set()
    worker.start()
    while worker.state != "ready":
        await asyncio.sleep(0.01)
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_worker_ends_with_a_killed_daemon() -> None:
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE) as host:
        assert host.stdout
        worker = os.pidfd_open(int(host.stdout.readline()))
        host.kill()
        host.wait()

        ended, _, _ = select.select([worker], [], [], 20)
        os.close(worker)

    assert ended


def test_one_fault_of_each_kind_leaves_nothing_wrong_lost_or_hung(store: ModelService) -> None:
    found = inference_run(len(WEIGHTS), 0, seed=7, say=print)

    assert found.losses == []
