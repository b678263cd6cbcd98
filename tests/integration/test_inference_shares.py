"""Who is served when: fair shares, deadlines, lists above the queue; by batches, not by clock."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from inference_stack import Sink, busy, direct, sentences, with_service
from waiting import until_on_loop

from stackctl.errors import NotFound, TimedOut
from stackctl_daemon.inference.service import Ask, InferenceService
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


def test_no_text_gives_no_vector(store: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        assert (await service.embed_texts([])).vectors.shape == (0, 384)

    with_service(store, body)
