"""The composition root: the only place that builds areas and wires them through their ports.

Building starts nothing: no file, thread of work or process comes about before `App.start`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from stackctl import paths
from stackctl.contracts.device import Device
from stackctl.contracts.search import Collection
from stackctl.settings import Settings
from stackctl_daemon import job_routes, metrics_routes
from stackctl_daemon.area import Area, AreaSink, LogSink
from stackctl_daemon.clock import SystemClock
from stackctl_daemon.events import EventSink
from stackctl_daemon.http.registry import Registry, Route
from stackctl_daemon.job_runner import JobRunner
from stackctl_daemon.remote import RemoteEmbedder
from stackctl_daemon.tally import Tally, TallySink

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 25.0

Target = Literal["all", "inference", "search", "analytics"]


class App:
    """Every area of a target, its routes, and its life."""

    def __init__(
        self, settings: Settings, sources: list[str], target: Target, *, probe: bool = True
    ) -> None:
        """Build the target; without ``probe`` no hardware is looked at (for the OpenAPI)."""
        self.settings = settings
        self.sources = sources
        self.target = target
        self.started_at = SystemClock().utc()
        self.started_s = time.monotonic()
        self.registry = Registry()
        self.api = Registry()
        """Routes of the API's port: other people's protocols alone."""
        self.api_url = ""
        """Where the API's port is; empty where it is off."""
        self.areas: list[Area] = []
        self.analytics: Any = None  # Any: areas are imported only where they are built
        self.otlp: Any = None
        self.devices: Any = None
        self.search: Any = None
        self._data = paths.data_dir()
        self._routes: list[tuple[Area, list[Route]]] = []
        self.tally = Tally()
        self.sink: EventSink = TallySink(self._build_sink(), self.tally)
        self.jobs = JobRunner(self._data / "jobs.db", self.sink)
        if target in ("all", "inference"):
            embedder: Any = self._build_inference(probe)
        else:
            embedder = RemoteEmbedder(os.environ.get("STACKCTL_INFERENCE_SOCKET", ""))
        if target in ("all", "search"):
            self._build_search(embedder)
        if target in ("all", "analytics"):
            self._build_insights()
        jobs = Area(
            "jobs",
            on_start=self.jobs.start,
            on_close=self.jobs.close,
            on_repair=self.jobs.repair,
            on_health=self.jobs.health,
        )
        self._add(jobs, job_routes.routes(self.jobs))
        for area, routes in self._routes:
            guarded = area.guard(routes)
            self.registry.add(*(route for route in guarded if "control" in route.listeners))
            self.api.add(*(route for route in guarded if "api" in route.listeners))
        scraped = metrics_routes.routes(self)
        self.registry.add(*scraped)
        self.api.add(*scraped)

    async def start(self) -> None:
        """Start the areas in order, jobs last: what they resume needs all the others."""
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for area in self.areas:
            began = time.monotonic()
            await area.start()
            log.info("area_started area=%s elapsed_s=%.3f", area.name, time.monotonic() - began)

    async def close(self) -> None:
        """Close the areas in reverse, so that analytics takes the last events.

        All of them together have `CLOSE_TIMEOUT_S`; after it each still has a second.
        """
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        for area in reversed(self.areas):
            await area.close(max(1.0, deadline_s - time.monotonic()))

    def area(self, name: str) -> Area | None:
        """Give an area by name; None where the target lacks it."""
        return next((a for a in self.areas if a.name == name), None)

    async def list_devices(self) -> list[Device]:
        """Give the devices; none where the target has no inference."""
        if self.devices is None:
            return []
        found: list[Device] = (await self.devices.list()).items
        return found

    async def list_collections(self) -> list[Collection]:
        """Give the collections; none where the target has no search, or it is degraded."""
        area = self.area("search")
        if self.search is None or area is None or area.error is not None:
            return []
        found: list[Collection] = (await self.search.collections()).items
        return found

    # -- building -------------------------------------------------------------------------------

    def _add(self, area: Area, routes: list[Route]) -> None:
        self.areas.append(area)
        self._routes.append((area, routes))

    def _build_sink(self) -> EventSink:
        if self.target not in ("all", "analytics"):
            return LogSink()
        # Deferred: areas are imported only by the targets that run them.
        from stackctl_daemon.analytics import routes
        from stackctl_daemon.analytics.otlp import routes as otlp
        from stackctl_daemon.analytics.otlp.receiver import Receiver
        from stackctl_daemon.analytics.service import AnalyticsService

        service = self.analytics = AnalyticsService(self.settings.analytics, self._data)
        self.otlp = Receiver(service)
        area = _area("analytics", service)

        async def close() -> None:
            await self.otlp.close()
            await service.close()

        area.on_close = close
        self._add(area, [*routes.routes(service), *otlp.routes(self.otlp)])
        self.registry.shapes += otlp.SHAPES
        self.api.shapes += otlp.API_SHAPES
        return AreaSink(area, service)

    def _build_inference(self, probe: bool) -> Any:
        # Deferred: as above.
        from stackctl_daemon.devices import routes as device_routes
        from stackctl_daemon.devices.inventory import backends
        from stackctl_daemon.devices.service import DeviceService
        from stackctl_daemon.inference import apis
        from stackctl_daemon.inference import routes as inference_routes
        from stackctl_daemon.inference.providers import GpuPolicy
        from stackctl_daemon.inference.scale_out import device as scale_out
        from stackctl_daemon.inference.service import InferenceService
        from stackctl_daemon.inference.worker_process import spawn
        from stackctl_daemon.models import routes as model_routes
        from stackctl_daemon.models.service import ModelService

        settings = self.settings
        hardware = backends(settings.devices)
        found, problems = hardware.list() if probe else ([], [])
        found = scale_out.with_cluster(settings.devices, found)
        loaded: list[Callable[[str], list[str]]] = []
        models = ModelService(
            settings.models,
            catalogue_dirs(),
            self._data,
            paths.cache_dir(),
            self.jobs,
            default_model=settings.inference.default_model,
            loaded_on=lambda name: [d for ask in loaded for d in ask(name)],
        )
        gpu = msgspec.convert(
            msgspec.structs.asdict(settings.gpu)
            | {"engine_cache": str(paths.cache_dir() / "tensorrt")},
            GpuPolicy,
        )
        inference = InferenceService(
            settings.inference,
            found,
            models,
            self.sink,
            wedge_timeout_s=settings.inference.wedge_timeout_s,
            data_dir=self._data,
            meter=hardware,
            jobs=self.jobs,
            spawn=scale_out.spawner(
                settings.devices,
                partial(spawn, gpu=gpu, batch_share=settings.inference.batch_share),
                wedge_timeout_s=settings.inference.wedge_timeout_s,
            ),
        )
        loaded.append(inference.loaded_on)
        models.names.aliases = inference.control.aliases
        models.users = inference
        self.devices = DeviceService(
            settings.devices,
            found,
            problems,
            live=inference.live,
            live_problems=inference.problems,
            backend=hardware,
        )
        self._add(_area("models", models), model_routes.routes(models))
        self._add(_area("devices", self.devices), device_routes.routes(self.devices))
        protocols = apis.Protocols(settings.api, inference, models)
        self.registry.shapes += apis.CONTROL_SHAPES
        self.api.shapes += apis.SHAPES
        self._add(
            _area("inference", inference),
            [*inference_routes.routes(inference), *protocols.routes()],
        )
        return inference

    def _build_search(self, embedder: Any) -> None:
        # Deferred: as above.
        from stackctl_daemon.search import routes
        from stackctl_daemon.search.service import SearchService

        self.search = SearchService(
            self.settings.search, self._data, embedder, self.jobs, self.sink
        )
        self._add(_area("search", self.search), routes.routes(self.search))

    def _build_insights(self) -> None:
        # Deferred: as above.
        from stackctl_daemon.insights import routes
        from stackctl_daemon.insights.service import InsightService

        service = InsightService(self.settings.insights, self._data, self.analytics, self.sink)
        self._add(_area("insights", service), routes.routes(service))


def _area(name: str, service: Any) -> Area:
    """Take from a service what it offers of an area's life."""

    def offered(method: str) -> Callable[[], Awaitable[Any]] | None:
        found: Callable[[], Awaitable[Any]] | None = getattr(service, method, None)
        return found

    return Area(
        name,
        on_start=offered("start"),
        on_close=offered("close"),
        on_repair=offered("repair"),
        on_health=getattr(service, "health", None),
    )


def catalogue_dirs() -> list[Path]:
    """Directories of model entries, ours first."""
    return [paths.bundled("config") / "models", paths.config_dir() / "models"]
