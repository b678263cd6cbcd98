"""Who is served when: fair shares, deadlines, lists above the queue; by batches, not by clock."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from inference_stack import Sink, busy, direct, sentences, with_service
from waiting import until_on_loop

from stackctl.contracts.inference import LoadRequest
from stackctl.errors import NotFound, Overloaded, TimedOut
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model

STATIC = "wordllama-256"


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_one_question_is_answered_within_anothers_five_thousand(
    store: ModelService, priority: str
) -> None:
    backlog = sentences(5000)
    question = "which river is nearest"
    expected = direct(store, [question])

    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        sink.events.clear()
        many = Ask(priority=priority, user=1)  # type: ignore[arg-type]  # of the parameters
        one = Ask(priority=priority, user=2)  # type: ignore[arg-type]  # as above
        call = asyncio.ensure_future(service.embed_texts(backlog, ask=many))
        await busy(service, sink)
        before = len(sink.events)

        found = await service.embed_texts([question], ask=one)

        np.testing.assert_allclose(found.vectors, expected, atol=2e-5)
        assert not call.done()
        # The batch under way, that of an equal share that came first, and its own.
        assert len(sink.events) - before <= 5
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert service.pool.queued == 0

    with_service(store, body)


def test_what_is_late_is_refused_and_not_computed(store: ModelService) -> None:
    texts = ["word " * 200] * 200

    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        sink.events.clear()

        with pytest.raises(TimedOut, match="200 inputs were not computed in time"):
            await service.embed_texts(texts, ask=Ask(timeout_s=0.3))

        assert service.pool.queued == 0
        await until_on_loop(lambda: service.live()["cpu:0"]["queued"] == 0)
        assert len((await service.embed_texts(["next"])).vectors) == 1
        assert sum(event.items or 0 for event in sink.events) < 200

    with_service(store, body)


def test_ten_thousand_texts_come_back_in_order(store: ModelService) -> None:
    """Above the queue's bound it goes through in parts."""
    distinct = sentences(100)
    texts = [distinct[(i * 37) % 100] for i in range(10_000)]

    async def body(service: InferenceService, sink: Sink) -> None:
        try:
            single = [(await service.embed_texts([t], model=STATIC)).vectors[0] for t in distinct]
        except NotFound as err:
            pytest.skip(err.message)
        found = await service.embed_texts(texts, model=STATIC)

        expected = np.stack([single[(i * 37) % 100] for i in range(10_000)])
        np.testing.assert_allclose(found.vectors, expected, atol=2e-5)

    with_service(store, body)


def test_a_list_that_was_let_in_is_not_refused_beside_others(store: ModelService) -> None:
    """Ten thousand texts through a queue of 256, which others fill all the time."""
    words = [f"orchard {i}" for i in range(100)]
    texts = [words[(i * 37) % 100] for i in range(10_000)]

    async def body(service: InferenceService, sink: Sink) -> None:
        expected = (await service.embed_texts(words)).vectors
        call = asyncio.ensure_future(service.embed_texts(texts, ask=Ask(user=1)))
        await until_on_loop(lambda: service.pool.queued > 0)
        refused: list[float] = []
        answered = 0

        async def other(user: int) -> None:
            nonlocal answered
            while not call.done():
                try:
                    await service.embed_texts(words[:40], ask=Ask(user=user))
                    answered += 1
                except Overloaded as err:
                    refused.append(err.retry_after_s or 0.0)
                    # As long as a batch takes: a client that does not heed what it was told.
                    sink.news.clear()
                    await sink.news.wait()

        await asyncio.gather(call, *(other(user) for user in range(2, 8)))

        order = [(i * 37) % 100 for i in range(10_000)]
        np.testing.assert_allclose(call.result().vectors, expected[order], atol=2e-3)
        assert answered > 0
        assert refused, "the queue was never full"
        assert all(0 < seconds <= 60 for seconds in refused)
        assert service.pool.queued == 0

    with_service(store, body, max_queued_texts=256)


def test_a_list_whose_time_is_up_while_it_waits_for_room_is_late(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.embed_texts(["warm"])
        many = asyncio.ensure_future(service.embed_texts(sentences(3000)))
        await busy(service, sink)

        with pytest.raises(TimedOut):
            await service.embed_texts(sentences(600), ask=Ask(timeout_s=0.5, user=2))

        many.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await many
        assert service.pool.queued == 0
        assert len((await service.embed_texts(["next"])).vectors) == 1

    with_service(store, body, max_queued_texts=1024)


def test_no_text_gives_no_vector(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        assert (await service.embed_texts([])).vectors.shape == (0, 384)

    with_service(store, body)


def test_a_list_above_its_models_limit_is_let_in_beside_others(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.control.load("minilm", LoadRequest(max_queued=8))
        await service.embed_texts(["warm"], model="minilm")
        over = False

        async def singles() -> None:
            while not over:
                await service.embed_texts(["word " * 250], model="minilm")

        others = [asyncio.ensure_future(singles()) for _ in range(2)]
        try:
            await until_on_loop(lambda: service.pool.queued == 2)
            found = await service.embed_texts(sentences(20), model="minilm")
        finally:
            over = True
            await asyncio.gather(*others)

        assert len(found.vectors) == 20

    with_service(store, body)
