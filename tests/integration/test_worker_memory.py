"""What a worker takes for a large input comes back: real models, real processes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from inference_stack import CACHE, Copies, Sink, model_service, sentences, with_service
from PIL import Image, ImageDraw, ImageFont
from waiting import until_on_loop

from stackctl.contracts.inference import LoadRequest
from stackctl.errors import ModelFetchFailed, NotFound
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.service import ModelService
from stackctl_daemon.proc import pss_bytes

pytestmark = pytest.mark.model

KEPT_BYTES = 100_000_000
"""Above what it held when its models were loaded: libraries that the first use loads (70 MB)."""


def peak_bytes(pid: int) -> int:
    """Give the most that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def page(width: int, height: int, lines: int) -> Input:
    picture = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(28)
    for number in range(lines):
        draw.text((20, 20 + number * 40), f"line {number} of a large page", "black", font)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Input(data=buffer.getvalue())


@pytest.fixture
def reader() -> ModelService:
    """The models area with the reader of text in pictures."""
    service = model_service()

    async def fetch() -> None:
        for name in ("pp-ocrv6-small", "default"):
            try:
                await service.ready(name)
            except NotFound:
                await service.pull(name)

    try:
        asyncio.run(fetch())
    except ModelFetchFailed as err:
        pytest.skip(f"a model cannot be fetched into {CACHE}: {err}")
    return service


def test_what_a_large_picture_took_comes_back_while_others_ask(reader: ModelService) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        await service.control.load("pp-ocrv6-small", LoadRequest())
        await service.control.load("default", LoadRequest())
        pid = service.pool.workers[0].pid or 0
        loaded, asked, stop = pss_bytes(pid), 0, False

        async def ask() -> None:
            nonlocal asked
            while not stop:
                done = await service.embed_texts(sentences(2))
                assert len(done.vectors) == 2
                asked += 1

        asking = asyncio.ensure_future(ask())
        done = await service.run([page(3000, 3000, 60)], model="pp-ocrv6-small")
        assert done.results[0].value["text"].count("large page") > 50
        await until_on_loop(lambda: asked > 20)
        stop = True
        await asking
        await until_on_loop(
            lambda: pss_bytes(pid) < loaded + KEPT_BYTES, told=lambda: (loaded, pss_bytes(pid))
        )

        assert peak_bytes(pid) > loaded + 3 * KEPT_BYTES  # else there was nothing to give back
        assert service.pool.workers[0].pid == pid  # by a trim alone
        survey = await service.control.survey()
        (worker,) = survey.workers
        assert worker.memory_bytes == pytest.approx(pss_bytes(pid), rel=0.1)
        assert worker.models_bytes == sum(model.memory_bytes for model in survey.items)

    with_service(reader, body, warm_up_s=0, default_model="all-minilm-l6-v2")


def test_what_a_large_batch_took_comes_back(store: ModelService) -> None:
    texts = ["signal " * 250] * 64

    async def body(service: InferenceService, sink: Sink) -> None:
        await service.control.load("default", LoadRequest())
        pid = service.pool.workers[0].pid or 0
        loaded = pss_bytes(pid)
        await service.embed_texts(texts)
        await until_on_loop(
            lambda: pss_bytes(pid) < loaded + KEPT_BYTES, told=lambda: (loaded, pss_bytes(pid))
        )

        assert peak_bytes(pid) > loaded + 3 * KEPT_BYTES
        assert len((await service.embed_texts(sentences(3))).vectors) == 3
        assert service.pool.workers[0].pid == pid

    with_service(Copies(store), body, warm_up_s=0, default_model="default", batch_tokens=16384)
