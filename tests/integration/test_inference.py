"""Real workers, the real model: order, routing, death, wedging, overload."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stackctl import paths
from stackctl.contracts.device import Device
from stackctl.contracts.event import Event
from stackctl.contracts.job import Job, JobProgress
from stackctl.errors import Failed, Invalid, ModelFetchFailed, NotFound, Overloaded, WorkerCrashed
from stackctl.settings import DeviceSettings, InferenceSettings, ModelSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.http.registry import Request
from stackctl_daemon.inference.routes import routes
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.session import Session
from stackctl_daemon.jobs import JobContext, JobKind
from stackctl_daemon.models.service import ModelService

pytestmark = [pytest.mark.integration, pytest.mark.model]

CACHE = Path(os.environ.get("STACKCTL_TEST_MODELS") or Path.home() / ".cache" / "stackctl-tests")


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, events: Sequence[Event]) -> None:
        self.events += events

    def emit(self, event: Event) -> None:
        self.events.append(event)


class InlineJobs:
    """Runs a job while it is submitted."""

    job_id = "inline"

    def __init__(self) -> None:
        self.kinds: dict[str, JobKind] = {}

    def register(self, kind: JobKind) -> None:
        self.kinds[kind.name] = kind

    def active(self) -> list[Job]:
        return []

    async def submit(self, kind: str, title: str, params: dict[str, Any]) -> Job:
        context: JobContext = self
        result = await self.kinds[kind].handler(context, params)
        return Job(
            id="inline", kind=kind, title=title, state="succeeded", progress=JobProgress(),
            created_at="", result=result,
        )  # fmt: skip

    def progress(
        self, done: int, total: int | None = None, *, unit: str = "item", message: str = ""
    ) -> None: ...

    def check_cancelled(self) -> None: ...


def model_service() -> ModelService:
    return ModelService(
        ModelSettings(), [paths.bundled("config") / "models"], CACHE, CACHE, InlineJobs()
    )


@pytest.fixture(scope="module")
def store() -> ModelService:
    async def fetch() -> ModelService:
        service = model_service()
        try:
            await service.ready("default")
        except NotFound:
            await service.pull("default")
        return service

    try:
        return asyncio.run(fetch())
    except ModelFetchFailed as err:
        pytest.skip(f"the model cannot be fetched: {err}")


def with_service(
    store: ModelService,
    body: Callable[[InferenceService, Sink], Awaitable[None]],
    *,
    devices: list[Device] | None = None,
    wedge_timeout_s: float = 120.0,
    **settings: Any,
) -> None:
    async def run() -> None:
        sink = Sink()
        cpus = devices or inventory(DeviceSettings(gpus="off", cpu_sets=[[0]]))[0]
        service = InferenceService(
            InferenceSettings(**settings), cpus, store, sink, wedge_timeout_s=wedge_timeout_s
        )
        await service.start()
        try:
            async with asyncio.timeout(120):
                await body(service, sink)
        finally:
            await service.close()

    asyncio.run(run())


def direct(store: ModelService, texts: list[str]) -> np.ndarray:
    """Each text alone, in this process."""
    ready = asyncio.run(store.ready("default"))
    session = Session(
        str(ready.graph), str(ready.tokenizer), kind="cpu", threads=1, max_tokens=256
    )
    rows = [session.embed([item.ids]) for item in session.tokenize(texts)]
    return np.concatenate(rows)


def sentences(count: int) -> list[str]:
    words = "river copper lantern orchard signal winter harbour cotton engine violin".split()  # noqa: SIM905
    return [
        " ".join(words[(i * 7 + j) % 10] for j in range(1 + i * 5 % 40)) + f" {i}"
        for i in range(count)
    ]


async def pid_of(service: InferenceService, device: str = "cpu:0") -> int:
    while True:
        pid = service.live()[device]["worker_pid"]
        if pid:
            return int(pid)
        await asyncio.sleep(0.01)


async def busy(service: InferenceService, sink: Sink) -> None:
    """Wait until a batch was computed while texts still wait."""
    while not (sink.events and service.queued_texts):
        await asyncio.sleep(0.005)


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
        done = await service.embed_texts(texts, priority="batch")

        np.testing.assert_allclose(done.vectors, expected, atol=2e-5)
        assert done.device == "cpu:0,cpu:1"
        for device in devices:
            pid = await pid_of(service, device.id)
            assert os.sched_getaffinity(pid) == set(device.cores)

    with_service(store, body, devices=devices)


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
        assert service.queued_texts == 0

    with_service(store, body)


def test_text_that_sees_three_deaths_alone_fails(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        async def killer() -> None:
            while True:
                if service.queued_texts:
                    os.kill(await pid_of(service), signal.SIGKILL)
                await asyncio.sleep(0.05)

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


def test_full_queue_refuses_with_retry_after(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        first = asyncio.ensure_future(service.embed_texts(sentences(30)))
        while not service.queued_texts:
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded) as caught:
            await service.embed_texts(["one more"] * 3)

        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s > 0
        assert len((await first).vectors) == 30
        assert len((await service.embed_texts(sentences(100))).vectors) == 100

    with_service(store, body, max_queued_texts=32)


def test_interactive_request_overtakes_a_backlog(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        sink.events.clear()
        backlog = asyncio.ensure_future(
            service.embed_texts(["word " * 250] * 60, priority="batch")
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

        assert service.queued_texts == 0
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
        (route,) = routes(service)
        assert route.body is not None

        async def post(texts: list[str]) -> Any:
            parsed = msgspec.convert({"texts": texts}, route.body)
            return await route.handler(Request("r", "POST", "/v1/embed", {}, {}, parsed, 0))

        for texts in ([], ["x"] * 2049):
            with pytest.raises(Invalid, match="texts"):
                await post(texts)
        reply = (await post(["x"])).body
        assert (reply.count, reply.dimensions) == (1, 384)

    with_service(store, body)


def test_unknown_model_is_not_found(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        with pytest.raises(NotFound, match="nonesuch"):
            await service.embed_texts(["x"], model="nonesuch")

    with_service(store, body)


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
    await asyncio.sleep(600)

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
