"""Workers that cannot be started, and ones that fall silent while they open a model."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_stack import Sink, direct, pid_of, sentences, with_service
from waiting import until_on_loop

from stackctl.contracts.device import Device
from stackctl.contracts.inference import LoadRequest
from stackctl.errors import Failed
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.worker_process import WorkerProcess, spawn
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model


class Unstartable:
    """Starts workers, but none on the devices that are gone."""

    def __init__(self, *gone: str) -> None:
        self.gone = set(gone)
        self.tries = 0

    async def __call__(self, device: Device, **how: Any) -> WorkerProcess:
        if device.id in self.gone:
            self.tries += 1
            raise OSError(19, "No such device")
        return await spawn(device, **how)


def two_devices() -> list[Device]:
    return inventory(DeviceSettings(gpus="off", cpu_sets=[[0], [0]]))[0]


def test_what_waits_for_a_device_that_cannot_start_is_answered_by_another(
    store: ModelService,
) -> None:
    """Found by the fault run: it waited for that device for ever."""
    texts = sentences(24)
    expected = direct(store, texts)
    workers = Unstartable("cpu:0")

    async def body(service: InferenceService, sink: Sink) -> None:
        found = await service.embed_texts(texts)

        np.testing.assert_allclose(found.vectors, expected, atol=2e-5)
        assert found.device == "cpu:1"
        await until_on_loop(service.problems, told=service.live)
        (problem,) = service.problems()
        assert problem.startswith("cpu:0: its worker does not start")
        assert "No such device" in problem

    with_service(store, body, devices=two_devices(), given={"spawn": workers})


def test_without_any_device_requests_are_refused_and_served_once_one_is_back(
    store: ModelService,
) -> None:
    workers = Unstartable("cpu:0", "cpu:1")

    async def body(service: InferenceService, sink: Sink) -> None:
        for _ in range(2):  # the second is refused at once
            with pytest.raises(Failed, match=r"does not start.*No such device"):
                await service.embed_texts(["nobody is here"])
        with pytest.raises(Failed, match="does not start"):
            await service.control.load("default", LoadRequest())
        assert service.pool.queued == 0

        workers.gone.clear()
        await until_on_loop(lambda: service.live()["cpu:0"]["worker_state"] == "ready")
        assert len((await service.embed_texts(["back"])).vectors) == 1
        assert service.problems() == []

    with_service(store, body, devices=two_devices(), given={"spawn": workers})


def test_a_worker_that_stops_while_it_opens_a_model_is_replaced(store: ModelService) -> None:
    """A load alone, without a request, has to be noticed too."""

    async def body(service: InferenceService, sink: Sink) -> None:
        first = await pid_of(service)
        os.kill(first, signal.SIGSTOP)
        loading = asyncio.ensure_future(service.control.load("default", LoadRequest()))

        assert (await loading).device == "cpu:0"
        assert await pid_of(service, other_than=first) != first

    with_service(store, body, wedge_timeout_s=4.0, warm_up_s=0)


LOST = Path(__file__).parents[1] / "faults" / "lost_device"


def test_a_device_lost_under_an_open_session_hands_its_requests_to_another(
    store: ModelService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the fault run: CUDA's failure was told to the user as the request's own."""
    texts = sentences(24)
    expected = direct(store, texts)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core, expected two for two devices")
    monkeypatch.setenv("PYTHONPATH", str(LOST))
    monkeypatch.setenv("STACKCTL_LOST", str(tmp_path))
    sets = [[cores[0]], [cores[1]]]
    mark = tmp_path / str(cores[0])

    async def body(service: InferenceService, sink: Sink) -> None:
        both = await service.embed_texts(texts)
        assert both.device == "cpu:0,cpu:1"

        mark.touch()
        found = await service.embed_texts(texts)
        np.testing.assert_allclose(found.vectors, expected, atol=2e-5)
        assert found.device == "cpu:1"
        (problem,) = service.problems()
        assert "CUDA failure 719" in problem or "NoExecutionProvider" in problem

        mark.unlink()

        async def answered_by_both() -> bool:
            return (await service.embed_texts(texts)).device == "cpu:0,cpu:1"

        while not await answered_by_both():
            pass
        assert service.problems() == []

    devices = inventory(DeviceSettings(gpus="off", cpu_sets=sets))[0]
    with_service(store, body, devices=devices)
