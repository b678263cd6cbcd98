"""Real workers, the real model under several names: what is loaded, kept and given back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_stack import Copies, Sink, direct, sentences, with_service
from waiting import until_on_loop

from stackctl.contracts.device import Device
from stackctl.contracts.inference import LoadRequest
from stackctl.errors import Conflict, Invalid, NotFound
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.placement import NoRoom
from stackctl_daemon.inference.ports import Room
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService
from stackctl_daemon.proc import pss_bytes

pytestmark = pytest.mark.model


class Limited:
    """A device that holds so much, by the real memory of its worker."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def room(self, device: Device, pid: int | None) -> Room:
        used = pss_bytes(pid) if pid else 0
        return Room(used, max(0, self.limit - used))


def states(service: InferenceService) -> dict[str, str]:
    return {model.model: model.state for model in service.control.running().items}


async def load(service: InferenceService, name: str, **terms: Any) -> None:
    await service.control.load(name, LoadRequest(**terms))


def test_a_loaded_model_is_listed_with_what_it_took(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "a", ttl_s=60, pinned=False)
        (model,) = [m for m in service.control.running().items if m.model == "a"]

        assert (model.device, model.state, model.in_use) == ("cpu:0", "idle", 0)
        assert model.memory_bytes > 20_000_000
        assert model.load_s > 0
        assert len(model.version) == 16
        assert model.expires_at > model.used_at
        assert model.execution_provider == "CPUExecutionProvider"

    with_service(Copies(store), body, warm_up_s=0)


def test_unloading_the_last_model_gives_all_of_it_back(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "default")
        await service.embed_texts(sentences(20))
        (gone,) = (await service.control.unload("default", "")).items

        assert gone.recycled
        assert gone.returned_bytes >= 0.95 * gone.memory_bytes
        assert service.control.running().items == []
        assert len((await service.embed_texts(["again"])).vectors) == 1

    with_service(store, body, warm_up_s=0)


def test_unloading_one_of_two_models_gives_its_memory_back(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "default")  # the first one also pays for the libraries
        await load(service, "b")
        (gone,) = (await service.control.unload("b", "")).items

        assert gone.returned_bytes >= 0.95 * gone.memory_bytes
        assert states(service) == {"default": "idle"}

    with_service(Copies(store), body, warm_up_s=0, default_model="default")


def test_the_least_used_model_makes_room_and_a_pinned_one_stays(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "pinned", pinned=True)
        await load(service, "old")
        await service.run(inputs("x"), model="pinned")
        meter.limit = pss_bytes(service.pool.workers[0].pid or 0) + (20 << 20)
        await load(service, "new")

        assert set(states(service)) == {"pinned", "new"}

    meter = Limited(1 << 40)
    with_service(Copies(store), body, given={"meter": meter}, **QUIET)


def test_what_can_never_fit_is_refused_with_the_figures(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        with pytest.raises(NoRoom, match=r"cpu:0: needs \d+ MB, 67 MB are free") as caught:
            await load(service, "a")
        assert caught.value.hint == "stackctl models why a"
        with pytest.raises(NoRoom):
            await service.embed_texts(["x"], model="a")
        (verdict,) = (await service.control.why("a")).devices
        assert verdict.decision == "refused"

    with_service(Copies(store), body, given={"meter": Limited(64 << 20)}, **QUIET)


def test_an_idle_model_goes_after_its_time_and_a_used_one_does_not(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "kept")
        await load(service, "brief", ttl_s=0.2)
        await until_on_loop(lambda: "brief" not in states(service), told=lambda: states(service))

        assert states(service) == {"kept": "idle"}

    with_service(Copies(store), body, **QUIET)


def test_unload_waits_for_the_requests_under_way(store: ModelService) -> None:
    texts = ["word " * 200] * 60

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "a")
        call = asyncio.ensure_future(service.embed_texts(texts, model="a"))
        await until_on_loop(lambda: states(service)["a"] == "ready")
        (gone,) = (await service.control.unload("a", "")).items

        assert call.done() or len((await call).vectors) == 60
        assert len((await call).vectors) == 60
        assert gone.model == "a"

    with_service(Copies(store), body, **QUIET)


def test_an_alias_is_switched_under_load_without_a_failure(
    store: ModelService, tmp_path: Path
) -> None:
    expected = direct(store, sentences(4))

    async def body(service: InferenceService, sink: Sink) -> None:
        served: list[str] = []
        stop = False

        async def ask() -> None:
            while not stop:
                done = await service.embed_texts(sentences(4), model="live", ask=Ask(user=1))
                np.testing.assert_allclose(done.vectors, expected, atol=2e-5)
                served.append(done.model)

        await service.control.switch("live", "one")
        callers = [asyncio.ensure_future(ask()) for _ in range(4)]
        for target in ("two", "one", "two"):
            await service.control.switch("live", target)
            count = len(served) + 8
            await until_on_loop(lambda n=count: len(served) >= n)  # type: ignore[misc]  # bound now
            assert set(served[-2:]) == {target}
        stop = True
        await asyncio.gather(*callers)

        assert set(served) == {"one", "two"}
        assert [(a.alias, a.model) for a in service.control.list_aliases().items] == [
            ("live", "two")
        ]

    async def after(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(["x"], model="live")
        assert done.model == "two"
        with pytest.raises(NotFound):
            await service.control.switch("live", "absent")
        assert (await service.entry("live")).name == "two"
        with pytest.raises(Invalid, match="default"):
            await service.control.switch("default", "two")
        with pytest.raises(Conflict, match="is the name of a model"):
            await service.control.switch("one", "two")
        await service.control.drop("live")
        assert service.control.list_aliases().items == []

    given = {"data_dir": tmp_path}
    with_service(Named(store), body, given=given, **QUIET)
    with_service(Named(store), after, given=given, **QUIET)


def test_a_model_is_tuned_and_the_budget_outlives_the_daemon(
    store: ModelService, tmp_path: Path
) -> None:
    found: list[int] = []

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "a")
        answers = [
            asyncio.ensure_future(service.embed_texts(["while it is measured"], model="a"))
            for _ in range(5)
        ]
        await until_on_loop(lambda: service.control.running().items[0].batch_budget)
        await asyncio.gather(*answers)
        found.append(service.control.running().items[0].batch_budget)

    async def after(service: InferenceService, sink: Sink) -> None:
        await load(service, "a")
        assert service.control.running().items[0].batch_budget == found[0]

    given = {"data_dir": tmp_path}
    with_service(Copies(store), body, given=given, default_model="absent", warm_up_s=2)
    with_service(Copies(store), after, given=given, **QUIET)
    assert 256 <= found[0] <= 65_536


class Named(Copies):
    """Models of two names alone."""

    async def ready(self, name: str) -> Any:
        return await super().ready(name if name in ("one", "two") else "absent")


QUIET: dict[str, Any] = {"default_model": "absent", "warm_up_s": 0}
"""Nothing is loaded but what a test asks for."""


def inputs(*texts: str) -> Any:
    from stackctl_daemon.inference.adapters.base import Input

    return [Input(text=text) for text in texts]
