"""Real workers, the real model: order, routing, overload."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from inference_stack import Sink, busy, direct, pid_of, sentences, with_service
from waiting import until_on_loop

from stackctl.contracts.device import Device
from stackctl.errors import Failed, Invalid, NotFound, Overloaded
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.http.registry import Request
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.routes import routes
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model


def test_vectors_agree_with_the_published_similarities(store: ModelService) -> None:
    """The sentence-similarity example of the model's own page: 0.695, 0.943, 0.257."""
    texts = [
        "That is a happy person",
        "That is a happy dog",
        "That is a very happy person",
        "Today is a sunny day",
    ]

    vectors = direct(store, texts)

    assert vectors[1:] @ vectors[0] == pytest.approx([0.695, 0.943, 0.257], abs=2e-3)


def test_order_is_kept_and_batches_are_events(store: ModelService) -> None:
    texts = [*sentences(40), "", "word " * 400]
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(texts)

        np.testing.assert_allclose(done.vectors, expected, atol=2e-5)
        assert (done.model, done.device) == ("all-minilm-l6-v2", "cpu:0")
        assert done.execution_provider == "CPUExecutionProvider"
        assert done.truncated == 1
        assert sum(event.items for event in sink.events) == len(texts)
        assert sum(event.tokens for event in sink.events) == done.tokens
        assert {event.kind for event in sink.events} == {"inference"}
        assert service.loaded_on("all-minilm-l6-v2") == ["cpu:0"]

    with_service(store, body)


def test_two_devices_share_a_call(store: ModelService) -> None:
    texts = sentences(120)
    expected = direct(store, texts)
    devices, problems = inventory(DeviceSettings(gpus="off", cpu_sets=[[0], [1]]))
    if problems:
        pytest.skip(f"needs two cores: {problems}")

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(texts, ask=Ask(priority="batch"))

        np.testing.assert_allclose(done.vectors, expected, atol=2e-5)
        assert done.device == "cpu:0,cpu:1"
        for device in devices:
            pid = await pid_of(service, device.id)
            assert os.sched_getaffinity(pid) == set(device.cores)

    with_service(store, body, devices=devices)


def test_full_queue_refuses_with_retry_after(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        # A longer list would go in windows; the last ones are for a user who has none queued.
        asks = [(6, 1), (6, 1), (6, 2), (6, 2), (6, 3), (2, 4)]
        first = asyncio.gather(
            *(service.embed_texts(sentences(count), ask=Ask(user=user)) for count, user in asks)
        )
        await until_on_loop(lambda: service.pool.queued == 32)
        with pytest.raises(Overloaded) as caught:
            await service.embed_texts(["one more"] * 3)

        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s > 0
        assert [len(done.vectors) for done in await first] == [6, 6, 6, 6, 6, 2]
        assert len((await service.embed_texts(sentences(100))).vectors) == 100

    with_service(store, body, max_queued_texts=32)


def test_interactive_request_overtakes_a_backlog(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        sink.events.clear()
        backlog = asyncio.ensure_future(
            service.embed_texts(["word " * 250] * 60, ask=Ask(priority="batch"))
        )
        await busy(service, sink)
        before = len(sink.events)
        await service.embed_texts(["now"])
        between = len(sink.events) - before
        await backlog

        # The batch under way, and our own; one more may start before ours arrives.
        assert between <= 4

    with_service(store, body)


def test_cancelled_call_frees_its_place(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        call = asyncio.ensure_future(service.embed_texts(["word " * 250] * 200))
        await busy(service, sink)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        begun = time.monotonic()
        await service.embed_texts(["next"])

        assert service.pool.queued == 0
        assert time.monotonic() - begun < 3

    with_service(store, body)


def test_cuda_device_without_cuda_is_an_error_and_never_the_cpu(store: ModelService) -> None:
    import onnxruntime

    fake = Device(id="cuda:0", kind="cuda", name="none", uuid="GPU-0")
    if Path("/dev/nvidiactl").exists():
        pytest.skip(f"onnxruntime {onnxruntime.__version__} may find a GPU here")

    async def alone(service: InferenceService, sink: Sink) -> None:
        with pytest.raises(Failed, match="CPUExecutionProvider"):
            await service.embed_texts(["x"])
        assert service.live()["cuda:0"]["worker_state"] == "failed"
        assert service.problems()

    async def beside(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(["x"])
        assert done.device == "cpu:0"

    with_service(store, alone, devices=[fake])
    cpu = Device(id="cpu:0", kind="cpu", name="cpu", cores=[0])
    with_service(store, beside, devices=[fake, cpu])


def test_route_checks_the_number_of_texts(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        route = routes(service)[0]
        assert route.body is not None

        async def post(texts: list[str]) -> Any:
            parsed = msgspec.convert({"texts": texts}, route.body)
            return await route.handler(Request("r", "POST", "/v1/embed", {}, {}, parsed, 0))

        for texts in ([], ["x"] * 2049):
            with pytest.raises(Invalid, match="expected 1 to 2048"):
                await post(texts)
        reply = (await post(["x"])).body
        assert (reply.count, reply.dimensions) == (1, 384)

    with_service(store, body)


def test_unknown_model_is_not_found(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        with pytest.raises(NotFound, match="nonesuch"):
            await service.embed_texts(["x"], model="nonesuch")

    with_service(store, body)
