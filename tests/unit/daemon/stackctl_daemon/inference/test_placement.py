"""Placement, eviction and faults on simulated devices; service, pool and wire are real."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.simulated_worker import SimulatedWorkers
from inference_stack import Sink
from waiting import until_on_loop

from stackctl.contracts.inference import LoadRequest
from stackctl.contracts.model import ModelEntry
from stackctl.errors import Invalid, Overloaded, StackctlError, TimedOut, Unreachable
from stackctl.settings import InferenceSettings
from stackctl_daemon.devices.simulated import SimulatedBackend, SimulatedDevice
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.placement import (
    REPLICA_BYTES,
    Measured,
    NoRoom,
    Predictor,
    RoomInUse,
)
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import FIRST_RETRY_S

MODEL_BYTES = 300_000_000
GPU_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Ready:
    entry: ModelEntry
    directory: Path
    graph: Path | None = None
    tokenizer: Path | None = None


HELD = ("warming", "ready", "idle")


class Store:
    """Any name is a model; its files say 200 MB without holding them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with (folder / "model.bin").open("wb") as file:
            file.truncate(200_000_000)

    async def ready(self, name: str) -> Ready:
        entry = ModelEntry(
            name=name,
            task="embedding",
            summary="",
            licence="",
            architecture="files",
            files=[],
            dimensions=384,
            options={"name": name},
        )
        return Ready(entry, self._folder)


@dataclass
class Rig:
    service: InferenceService
    devices: dict[str, SimulatedDevice]
    workers: SimulatedWorkers

    async def load(self, name: str, **terms: Any) -> str:
        return (await self.service.control.load(name, LoadRequest(**terms))).device

    async def ask(self, name: str, count: int = 1) -> str:
        texts = ["x" * (i + 1) for i in range(count)]
        done = await self.service.embed_texts(texts, model=name)
        assert [int(row[0]) for row in done.vectors] == [len(text) for text in texts]
        return done.device

    async def learned(self, name: str) -> None:
        """Wait until what loading a model took was measured."""
        while (await self.service.control.why(name)).basis != "measured when it was last loaded":
            pass

    def held(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for model in self.service.control.running().items:
            found.setdefault(model.device, set()).add(model.model)
        return found


def rig(
    tmp_path: Path,
    body: Callable[[Rig], Awaitable[None]],
    *devices: SimulatedDevice,
    wedge_timeout_s: float = 60.0,
    **settings: Any,
) -> None:
    async def run() -> None:
        backend = SimulatedBackend(list(devices))
        sound = {device.id for device in devices if not device.fault}
        workers = SimulatedWorkers(backend, memory_bytes=MODEL_BYTES)
        service = InferenceService(
            InferenceSettings(default_model="first", warm_up_s=0, **settings),
            backend.list()[0],
            Store(tmp_path),
            Sink(),
            wedge_timeout_s=wedge_timeout_s,
            data_dir=tmp_path,
            meter=backend,
            spawn=workers,
        )
        await service.start()
        try:
            async with asyncio.timeout(60):
                first = {w.device.id for w in service.pool.candidates()} & sound
                # Which of two like devices is next would else depend on which came first.
                await until_on_loop(
                    lambda: (
                        first
                        <= {m.device for m in service.control.running().items if m.state in HELD}
                    )
                )
                await body(Rig(service, backend.devices, workers))
        finally:
            await service.close()

    asyncio.run(run())


def gpu(number: int, **given: Any) -> SimulatedDevice:
    return SimulatedDevice(f"cuda:{number}", memory_bytes=GPU_BYTES, **given)


def test_a_model_goes_where_most_memory_is_free(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert await rig.load("second") == "cuda:1"
        found = await rig.service.control.why("third")
        assert {v.device: v.decision for v in found.devices}["cuda:1"] in ("chosen", "possible")

    rig(tmp_path, body, gpu(0, used_bytes=200_000_000), gpu(1))


def test_cpus_are_for_when_no_gpu_is_usable(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert await rig.load("second") == "cuda:0"
        found = await rig.service.control.why("third")
        verdict = next(v for v in found.devices if v.device == "cpu:0")
        assert (verdict.decision, "a GPU is usable" in verdict.reason) == ("refused", True)
        rig.devices["cuda:0"].fault = "lost"
        assert await rig.load("third") == "cpu:0"

    rig(tmp_path, body, gpu(0), SimulatedDevice("cpu:0", kind="cpu"))


def test_the_least_used_model_is_evicted_and_the_pinned_one_is_not(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("pinned", pinned=True)
        await rig.load("second")
        await rig.ask("first")
        await rig.load("third")

        assert rig.held() == {"cuda:0": {"first", "pinned", "third"}}
        assert rig.devices["cuda:0"].used_bytes == 3 * MODEL_BYTES

    rig(tmp_path, body, gpu(0))


def test_what_cannot_fit_is_refused_and_evicts_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for name in ("first", "second", "third"):
            await rig.load(name, pinned=True)
        with pytest.raises(NoRoom, match='no device has room for model "fourth": cuda:0: needs'):
            await rig.load("fourth")
        with pytest.raises(NoRoom):
            await rig.ask("fourth")

        assert rig.held() == {"cuda:0": {"first", "second", "third"}}

    rig(tmp_path, body, gpu(0))


def test_room_that_is_only_in_use_is_had_by_asking_again(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for name in ("first", "second"):
            await rig.load(name, pinned=True)
        await rig.load("third")
        rig.devices["cuda:0"].fault = "hang"
        busy = asyncio.ensure_future(rig.ask("third"))
        worker = rig.service.pool.workers[0]
        await until_on_loop(lambda: any(worker.in_use(key) for key in worker.held.wanted))
        with pytest.raises(RoomInUse, match="until others are not used any more") as refused:
            await rig.ask("fourth")
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)

        assert (refused.value.code, refused.value.status) == ("overloaded", 429)
        assert (refused.value.retry_after_s or 0) > 0

    rig(tmp_path, body, gpu(0))


def test_a_load_that_runs_out_of_memory_moves_on(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        rig.devices["cuda:1"].fault = "out-of-memory"
        rig.devices["cuda:0"].used_bytes += 100_000_000

        assert await rig.load("second") == "cuda:0"
        assert ("cuda:1", "second") in rig.workers.loads

    rig(tmp_path, body, gpu(0), gpu(1))


def test_a_device_that_falls_back_in_silence_is_not_used(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert await rig.ask("first", 40) == "cuda:1"
        assert any("CPUExecutionProvider" in text for text in rig.service.problems())

    rig(tmp_path, body, gpu(0, fault="silent-fallback"), gpu(1))


def test_a_lost_device_is_left_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert await rig.ask("first", 64) == "cuda:0,cuda:1"
        rig.devices["cuda:0"].fault = "lost"
        assert {await rig.ask("first") for _ in range(4)} == {"cuda:1"}
        found = await rig.service.control.why("first")
        lost = next(v for v in found.devices if v.device == "cuda:0")
        assert "lost" in lost.reason or "does not answer" in lost.reason or "loaded" in lost.reason

        rig.devices["cuda:0"].fault = ""
        worker = rig.service.pool.workers[0]
        await until_on_loop(lambda: worker.sound)
        await rig.ask("first", 64)
        assert rig.service.problems() == []

    rig(tmp_path, body, gpu(0), gpu(1))


def test_devices_lost_one_after_the_other_under_a_request_do_not_fail_it(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        first, second = rig.service.pool.workers
        rig.devices["cuda:0"].fault = "lost"
        call = asyncio.ensure_future(rig.ask("first"))
        await until_on_loop(lambda: first.problem and second.load)
        rig.devices["cuda:0"].fault = ""
        await until_on_loop(lambda: first.sound)
        rig.devices["cuda:1"].fault = "lost"

        assert await call == "cuda:0"

    rig(tmp_path, body, gpu(0), gpu(1, service_s=FIRST_RETRY_S + 0.5))


def test_all_devices_lost_is_an_error_that_ends_when_one_is_back(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.ask("first")
        for device in rig.devices.values():
            device.fault = "lost"
        for name in ("first", "second"):
            with pytest.raises(StackctlError, match=r"GPU is lost|does not answer|no device"):
                await rig.ask(name)
        rig.devices["cuda:1"].fault = ""

        assert await rig.ask("first") == "cuda:1"
        assert await rig.load("second") == "cuda:1"

    rig(tmp_path, body, gpu(0), gpu(1))


def test_a_worker_that_hangs_is_ended_and_the_request_answered(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.ask("first")
        rig.devices["cuda:0"].fault = "hang"
        call = asyncio.ensure_future(rig.ask("first"))
        worker = rig.service.pool.workers[0]
        await until_on_loop(lambda: worker.restarts)
        rig.devices["cuda:0"].fault = ""

        assert await call == "cuda:0"

    rig(tmp_path, body, gpu(0), wedge_timeout_s=0.2)


def test_a_slow_device_gets_less(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.ask("first", 64)
        rig.devices["cuda:0"].fault = "slow"
        served = await asyncio.gather(*(rig.ask("first") for _ in range(40)))
        later = await asyncio.gather(*(rig.ask("first") for _ in range(40)))

        assert (served + later).count("cuda:1") >= (served + later).count("cuda:0")

    rig(tmp_path, body, gpu(0, service_s=0.002), gpu(1, service_s=0.002))


def test_what_a_model_took_is_what_it_needs_next_time(tmp_path: Path) -> None:
    async def first(rig: Rig) -> None:
        await rig.service.lifecycle.load(await rig.service.load_of("first"))
        await rig.load("second")
        learned = tmp_path / "inference" / "memory.json"
        await until_on_loop(lambda: learned.exists() and "second@" in learned.read_text())

    async def second(rig: Rig) -> None:
        found = await rig.service.control.why("second")
        assert found.needed_bytes == MODEL_BYTES
        assert found.basis == "measured when it was last loaded"
        assert (await rig.service.control.why("other")).needed_bytes == MODEL_BYTES

    rig(tmp_path, first, gpu(0))
    rig(tmp_path, second, gpu(0))


def test_a_device_of_another_name_is_refused(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(StackctlError, match="expected one of: cuda:0"):
            await rig.load("first", device="cuda:9")

    rig(tmp_path, body, gpu(0))


def test_tiny_models_tell_nothing_of_what_large_ones_take(tmp_path: Path) -> None:
    def load(name: str, size: int) -> wire.Load:
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "model.bin").open("wb") as file:
            file.truncate(size)
        return wire.Load(name, name, "tensor-graph", str(folder), "", "", 0, 0)

    predictor = Predictor(StateFile(None, Measured))
    for number in range(5):
        predictor.learn(load(f"tiny-{number}", 2000), "cpu", 3_000_000)
    large = load("large", 20_000_000)

    assert predictor.need(large, "cpu").memory_bytes <= 4 * 20_000_000
    predictor.learn(load("other", 10_000_000), "cpu", 12_000_000)
    assert predictor.need(large, "cpu").memory_bytes == 24_000_000


def test_a_number_of_replicas_has_a_need_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    predictor = Predictor(StateFile(None, Measured))

    def load(replicas: int) -> wire.Load:
        return wire.Load("m", "m", "tensor-graph", str(tmp_path), "", "", 0, 0, replicas=replicas)

    predictor.learn(load(1), "cpu", 50_000_000)
    guessed = predictor.need(load(4), "cpu")
    predictor.learn(load(4), "cpu", 90_000_000)

    assert guessed.memory_bytes == 50_000_000 + 3 * REPLICA_BYTES
    assert guessed.basis == "measured with 1 of its 4 replicas"
    assert predictor.need(load(4), "cpu").memory_bytes == 90_000_000
    assert predictor.need(load(1), "cpu").memory_bytes == 50_000_000
    assert predictor.need(load(6), "cpu").memory_bytes == 90_000_000 + 2 * REPLICA_BYTES


def test_replicas_that_would_not_fit_are_refused_and_the_model_stays(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("first")
        with pytest.raises(NoRoom, match="first"):
            await rig.load("first", replicas=64)

        (found,) = rig.service.control.running().items
        assert (found.replicas, found.state) == (1, "idle")
        await rig.load("first", replicas=2)
        assert rig.service.control.running().items[0].replicas == 2
        why = await rig.service.control.why("first")
        assert why.devices[0].reason.endswith("2 replicas")

    rig(tmp_path, body, gpu(0))


def test_a_worker_that_keeps_what_no_model_needs_is_started_anew(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("second", ttl_s=600)
        device, worker = rig.devices["cuda:0"], rig.service.pool.workers[0]
        await rig.learned("second")
        pid, expires = worker.pid, rig.service.control.running().items[1].expires_at
        assert device.keep(400_000_000)
        survey = (await rig.service.control.survey()).workers[0]
        assert (survey.memory_bytes, survey.above_bytes) == (1_000_000_000, 400_000_000)
        asked = asyncio.ensure_future(rig.ask("first", 3))
        await until_on_loop(lambda: worker.pid not in (None, pid), told=rig.service.live)
        await until_on_loop(lambda: len(worker.models) == 2)

        assert await asked == "cuda:0"
        assert await rig.ask("second") == "cuda:0"
        assert rig.held() == {"cuda:0": {"first", "second"}}
        assert (device.own_bytes, device.kept_bytes) == (2 * MODEL_BYTES, 0)
        assert rig.service.control.running().items[1].expires_at >= expires
        assert worker.restarts == 0

    rig(tmp_path, body, gpu(0))


def test_memory_that_no_model_needs_is_counted_as_room(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        device = rig.devices["cuda:0"]
        await rig.load("first", pinned=True)
        await rig.learned("first")
        assert device.keep(600_000_000)
        found = await rig.service.control.why("second")

        assert found.devices[0].decision == "evicts"

    rig(tmp_path, body, gpu(0))


def test_the_terms_of_a_load_that_failed_are_gone(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        terms = rig.service.lifecycle.terms
        await rig.service.control.unload("first", "")
        assert terms.due_s() is None
        rig.devices["cuda:0"].fault = "out-of-memory"
        with pytest.raises(StackctlError):
            await rig.load("second", ttl_s=5)
        assert terms.due_s() is None
        with pytest.raises(StackctlError):
            await rig.load("second", pinned=True)
        rig.devices["cuda:0"].fault = ""
        await until_on_loop(lambda: rig.service.pool.workers[0].sound)
        await rig.load("second")

        (model,) = rig.service.control.running().items
        assert (model.model, model.pinned, model.expires_at) == ("second", False, "")

    rig(tmp_path, body, gpu(0))


def test_the_terms_of_a_request_whose_load_failed_are_gone(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("first", ttl_s=0)
        rig.devices["cuda:0"].fault = "out-of-memory"
        with pytest.raises(StackctlError):
            await rig.ask("second")
        await until_on_loop(lambda: rig.service.lifecycle.terms.due_s() is None)

    rig(tmp_path, body, gpu(0), keep_alive_s=5.0)


def test_a_new_version_of_a_pinned_model_is_pinned(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("second", pinned=True)
        worker = rig.service.pool.workers[0]
        (old,) = [load for load in worker.held.wanted.values() if load.name == "second"]
        new = msgspec.structs.replace(old, key="second@2")
        await rig.service.lifecycle.load(new)

        assert [m.pinned for m in rig.service.control.running().items if m.model == "second"] == [
            True
        ]

    rig(tmp_path, body, gpu(0))


def test_a_model_with_a_full_queue_refuses_and_others_do_not(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("narrow", max_queued=4)
        waiting = asyncio.gather(*(rig.ask("narrow") for _ in range(4)))
        await until_on_loop(lambda: rig.service.pool.queued >= 4)
        with pytest.raises(Overloaded, match="4 inputs of narrow are queued, 1 more") as caught:
            await rig.ask("narrow")
        assert "its limit of 4 (stackctl models load narrow --max-q" in caught.value.message
        assert caught.value.retry_after_s > 0
        [held] = [m for m in rig.service.control.running().items if m.model == "narrow"]
        assert (held.max_queued, held.timeout_s) == (4, 0.0)
        assert (await rig.service.control.why("narrow")).max_queued == 4
        assert await rig.ask("first") == "cuda:0"
        await waiting
        assert await rig.ask("narrow", 9) == "cuda:0"  # in windows of a quarter of its queue
        await rig.load("narrow", max_queued=0)
        await asyncio.gather(*(rig.ask("narrow", 4) for _ in range(3)))

    rig(tmp_path, body, gpu(0, service_s=0.02))


def test_a_request_that_sets_no_timeout_has_that_of_its_model(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.load("brief", timeout_s=0.05)
        late = r"brief: 4 inputs were not computed in time: 0\.05 s is the timeout of the model"
        with pytest.raises(TimedOut, match=late):
            await rig.ask("brief", 4)
        own = Ask(timeout_s=0.04)
        with pytest.raises(TimedOut, match=r"0\.04 s is the timeout of the request"):
            await rig.service.embed_texts(["x"] * 4, model="brief", ask=own)
        [held] = [m for m in rig.service.control.running().items if m.model == "brief"]
        assert (held.max_queued, held.timeout_s) == (0, 0.05)
        ask = Ask(timeout_s=30.0)
        done = await rig.service.embed_texts(["x"], model="brief", ask=ask)
        assert len(done.vectors) == 1
        with pytest.raises(Invalid, match="timeout_s is -1"):
            await rig.load("brief", timeout_s=-1)
        with pytest.raises(Invalid, match="max_queued is -1"):
            await rig.load("brief", max_queued=-1)
        for name in ("timeout_s", "ttl_s", "latency_target_ms"):
            for value in (float("nan"), float("inf")):
                with pytest.raises(Invalid, match=f"{name} is (nan|inf), expected 0"):
                    await rig.load("brief", **{name: value})

    rig(tmp_path, body, gpu(0, service_s=0.1))


def test_a_prediction_is_checked_by_the_load_and_kept(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "memory.json", Measured)
    with (tmp_path / "model.bin").open("wb") as weights:
        weights.truncate(200_000_000)
    load = wire.Load(
        key="m@1", name="m", adapter="", directory=str(tmp_path), graph="", tokenizer="",
        max_tokens=0, dimensions=0,
    )  # fmt: skip
    predictor = Predictor(file)
    assert predictor.measured(load, "cpu") is None
    predicted = predictor.need(load, "cpu").memory_bytes
    predictor.learn(load, "cpu", 240_000_000)
    predictor.learn(load, "cpu", 230_000_000)
    predictor.save()

    kept = Predictor(file).measured(load, "cpu")
    assert kept and (kept.memory_bytes, kept.predicted_bytes) == (230_000_000, predicted)
    predictor.forget("m")
    assert Predictor(file).measured(load, "cpu") is None


def test_the_reader_of_a_stream_is_told_that_the_daemon_ends(tmp_path: Path) -> None:
    async def body(it: Rig) -> None:
        async def read() -> None:
            async for _ in it.service.stream(Input(text="x"), model="first"):
                pass

        reading = asyncio.ensure_future(read())
        [worker] = it.service.pool.workers
        await until_on_loop(lambda: worker.queued == 1)
        await it.service.close()

        with pytest.raises(Unreachable, match="the daemon is ending"):
            await asyncio.wait_for(reading, 10)

    rig(tmp_path, body, gpu(0, fault="hang"))
