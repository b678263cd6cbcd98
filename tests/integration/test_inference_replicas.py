"""Real workers, the real model: several batches at once, and batches that follow a target."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from harness import Stack
from inference_stack import Copies, Copy, Sink, busy, direct, pid_of, sentences, with_service
from waiting import until_on_loop

from stackctl.contracts.inference import LoadRequest, RunningModel
from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService
from stackctl_daemon.proc import pss_bytes

pytestmark = pytest.mark.model

MODEL = "all-minilm-l6-v2"
QUIET: dict[str, Any] = {"warm_up_s": 0, "default_model": "absent"}


def running(service: InferenceService, name: str = MODEL) -> RunningModel:
    return next(m for m in service.control.running().items if m.model == name)


async def load(service: InferenceService, name: str = MODEL, **terms: Any) -> RunningModel:
    return await service.control.load(name, LoadRequest(**terms))


def test_two_hundred_requests_over_four_replicas_get_their_own_answers(
    store: ModelService,
) -> None:
    texts = sentences(200)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        now = await load(service, replicas=4)
        assert now.replicas == 4
        begun = time.monotonic()
        calls = [service.embed_texts([text], model=MODEL) for text in texts]
        found = await asyncio.gather(*calls)
        wall_s = time.monotonic() - begun

        for one, row in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.vectors, [row], atol=2e-5)
        # Batches overlap, whatever the number of cores: together they took longer than it did.
        computed_s = sum(event.duration_s or 0.0 for event in sink.events)
        assert computed_s > 1.5 * wall_s

    with_service(store, body, **QUIET)


def test_a_killed_worker_comes_back_with_its_replicas_and_answers_all(store: ModelService) -> None:
    texts = sentences(150)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, replicas=4)
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(service.embed_texts(texts[i : i + 5], model=MODEL))
                for i in range(0, len(texts), 5)
            ]
            await busy(service, sink)
            os.kill(await pid_of(service), signal.SIGKILL)

        vectors = np.concatenate([call.result().vectors for call in calls])
        np.testing.assert_allclose(vectors, expected, atol=2e-5)
        assert service.live()["cpu:0"]["worker_restarts"] == 1
        assert running(service).replicas == 4
        assert service.pool.queued == 0

    with_service(store, body, **QUIET)


def test_unloading_gives_the_memory_of_all_replicas_back(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "other")  # so that the process stays
        base = pss_bytes(await pid_of(service))
        await load(service, MODEL, replicas=4)
        await asyncio.gather(*(service.embed_texts([t], model=MODEL) for t in sentences(60)))
        (gone,) = (await service.control.unload(MODEL, "")).items

        assert gone.returned_bytes >= 0.95 * gone.memory_bytes
        assert gone.recycled or pss_bytes(await pid_of(service)) < base + 0.1 * gone.memory_bytes

    with_service(Copies(store), body, **QUIET)


def test_replicas_share_the_weights(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "first")  # pays for the libraries
        one = (await load(service, "one")).memory_bytes
        four = (await load(service, "four", replicas=4)).memory_bytes

        assert four < 2.2 * one

    with_service(Copies(store), body, **QUIET)


def test_the_number_changes_while_requests_are_answered(store: ModelService) -> None:
    texts = sentences(120)
    expected = direct(store, texts)

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service)
        calls = [asyncio.ensure_future(service.embed_texts([text], model=MODEL)) for text in texts]
        await busy(service, sink)
        for count in (3, 1, 2):
            assert (await load(service, replicas=count)).replicas == count
            assert (await load(service)).replicas == count  # none: as it is

        vectors = np.concatenate([one.vectors for one in await asyncio.gather(*calls)])
        np.testing.assert_allclose(vectors, expected, atol=2e-5)
        assert service.live()["cpu:0"]["worker_restarts"] == 0

    with_service(store, body, **QUIET)


class Entries(Copies):
    """Copies whose entry asks for replicas."""

    async def ready(self, name: str) -> Copy:
        found = await super().ready(name)
        entry = msgspec.structs.replace(found.entry, replicas=3)
        return Copy(entry, found.directory, found.graph, found.tokenizer)


def test_an_entry_says_how_many_unless_a_load_does(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["a"], model="a")
        assert running(service, "a").replicas == 3
        assert (await load(service, "b", replicas=1)).replicas == 1

    with_service(Entries(store), body, **QUIET)


@pytest.mark.parametrize("wrong", [0, -1, 65])
def test_a_number_that_cannot_be_is_refused_with_the_bounds(
    store: ModelService, wrong: int
) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        with pytest.raises(Invalid, match=f"replicas is {wrong}, expected 1 to 64"):
            await load(service, replicas=wrong)
        with pytest.raises(Invalid, match=r"latency_target_ms is -1, expected 0 \(no target\) to"):
            await load(service, latency_target_ms=-1)
        assert service.control.running().items == []

    with_service(store, body, **QUIET)


def test_a_change_that_fails_leaves_the_model_answering(store: ModelService) -> None:
    class Damaged(Copies):
        graph: Any = None

        async def ready(self, name: str) -> Copy:
            found = await super().ready(name)
            return Copy(found.entry, found.directory, self.graph or found.graph, found.tokenizer)

    copies = Damaged(store)

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service, "a", replicas=2)
        held = service.pool.workers[0].held
        (key,) = held.wanted
        held.wanted[key] = msgspec.structs.replace(held.wanted[key], graph="/nonexistent.onnx")
        with pytest.raises(Failed, match=r"cannot open /nonexistent\.onnx"):
            await load(service, "a", replicas=4)

        assert running(service, "a").replicas == 2
        assert len((await service.embed_texts(["still"], model="a")).vectors) == 1

    with_service(copies, body, **QUIET)


def test_with_a_target_one_who_waits_is_answered_sooner_beside_a_bulk(store: ModelService) -> None:
    """Batches are as large as if the device were calibrated to 4,096 tokens."""
    long = " ".join(["river copper lantern orchard signal winter harbour cotton"] * 28)
    short = "which river is nearest to the old copper lantern by the orchard"

    async def asked(service: InferenceService, rounds: int) -> list[float]:
        async def bulk() -> None:
            while True:
                await service.embed_texts([long] * 32, model=MODEL, ask=Ask(user=1))

        flood = [asyncio.ensure_future(bulk()) for _ in range(2)]
        await until_on_loop(lambda: service.pool.queued >= 64)
        took = []
        for _ in range(rounds):
            begun = time.monotonic()
            await service.embed_texts([short], model=MODEL, ask=Ask(user=2))
            took.append(time.monotonic() - begun)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        return took

    async def body(service: InferenceService, sink: Sink) -> None:
        await load(service)
        without = await asked(service, 6)
        await load(service, latency_target_ms=200)
        settled = (await asked(service, 36))[-20:]
        now = running(service)

        assert now.latency_target_ms == 200
        assert now.latency_p95_ms > 0
        assert now.batch_budget < 4096
        assert statistics.quantiles(settled, n=20)[-1] < 0.5 * statistics.median(without)

    with_service(store, body, batch_tokens=4096, **QUIET)


def test_the_command_loads_with_replicas_and_a_target_and_shows_both(stack: Stack) -> None:
    done = stack.cli("models", "load", "default", "--replicas", "2", "--latency-target", "500")
    assert done.returncode == 0, done.stderr
    for text in sentences(40):
        stack.ok("POST", "/v1/embed", {"texts": [text]})

    (listed,) = json.loads(stack.cli("models", "ps", "--json").stdout)["items"]
    assert (listed["replicas"], listed["latency_target_ms"]) == (2, 500)
    why = stack.cli("models", "why", "default")
    assert "2 replicas, target 500 ms" in why.stdout
    refused = stack.cli("models", "load", "default", "--replicas", "100")
    assert refused.returncode == 2
    assert "replicas is 100, expected 1 to 64" in refused.stderr
