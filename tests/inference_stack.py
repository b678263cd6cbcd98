"""An inference service with real workers, for the tests of what it answers and of its faults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fakes.inline_jobs import InlineJobs
from fakes.inline_jobs import Sink as KeepingSink
from waiting import until_on_loop

from stackctl import paths
from stackctl.contracts.device import Device
from stackctl.contracts.event import Event
from stackctl.contracts.model import ModelEntry
from stackctl.errors import NotFound
from stackctl.settings import DeviceSettings, InferenceSettings, ModelSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding
from stackctl_daemon.inference.ports import ModelStore
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.models.service import ModelService

CACHE = Path(os.environ.get("STACKCTL_TEST_MODELS") or Path.home() / ".cache" / "stackctl-tests")


@dataclass(frozen=True)
class Copy:
    """A model's files under another name."""

    entry: ModelEntry
    directory: Path
    graph: Path | None
    tokenizer: Path | None


class Copies:
    """As many models as a test wants: the default one's files under any name but ``absent``."""

    def __init__(self, store: ModelService) -> None:
        self._store = store

    async def ready(self, name: str) -> Copy:
        if name.startswith("absent"):
            raise NotFound(f'no model "{name}" in the catalogue', hint="stackctl models list")
        found = await self._store.ready("default")
        entry = msgspec.structs.replace(found.entry, name=name, options={"copy": name})
        return Copy(entry, found.directory, found.graph, found.tokenizer)


class Sink(KeepingSink):
    """Keeps events and tells of each."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    def emit(self, event: Event) -> None:
        super().emit(event)
        self.news.set()


def model_service() -> ModelService:
    return ModelService(
        ModelSettings(), [paths.bundled("config") / "models"], CACHE, CACHE, InlineJobs()
    )


def with_service(
    store: ModelStore,
    body: Callable[[InferenceService, Sink], Awaitable[None]],
    *,
    devices: list[Device] | None = None,
    wedge_timeout_s: float = 120.0,
    given: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    async def run() -> None:
        sink = Sink()
        cpus = devices or inventory(DeviceSettings(gpus="off", cpu_sets=[[0]]))[0]
        service = InferenceService(
            InferenceSettings(**settings),
            cpus,
            store,
            sink,
            wedge_timeout_s=wedge_timeout_s,
            **given or {},
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
    spec = ModelSpec(
        "m", ready.directory, ready.graph, ready.tokenizer, max_tokens=256, dimensions=384
    )
    model = TextEmbedding(spec, DevicePolicy("cpu").open)
    units = model.prepare([Input(text=text) for text in texts], {})
    rows = [model.compute([unit]) for unit in units]
    return np.concatenate(rows)


def sentences(count: int) -> list[str]:
    words = "river copper lantern orchard signal winter harbour cotton engine violin".split()  # noqa: SIM905
    return [
        " ".join(words[(i * 7 + j) % 10] for j in range(1 + i * 5 % 40)) + f" {i}"
        for i in range(count)
    ]


async def pid_of(
    service: InferenceService, device: str = "cpu:0", *, other_than: int | None = None
) -> int:
    """Give the pid of a device's worker, once there is one."""
    pids = {None, other_than}
    await until_on_loop(
        lambda: service.live()[device]["worker_pid"] not in pids, told=service.live
    )
    return int(service.live()[device]["worker_pid"])


async def busy(service: InferenceService, sink: Sink) -> None:
    """Wait until a batch was computed while texts still wait."""
    while not (sink.events and service.pool.queued):
        sink.news.clear()
        await sink.news.wait()
