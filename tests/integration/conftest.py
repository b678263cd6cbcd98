"""Real stacks for the integration tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Stack, model_cache
from inference_stack import model_service

from stackctl.errors import ModelFetchFailed, NotFound
from stackctl_daemon.models.service import ModelService


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
