"""The daemon itself over HTTP: version, status, health, configuration, repair, shutdown."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from stackctl import __version__
from stackctl.contracts.event import Summary
from stackctl.contracts.system import (
    AreaHealth,
    ConfigReply,
    Repair,
    RepairReply,
    Shutdown,
    Status,
    Version,
)
from stackctl.errors import BadConfig, Conflict, DiskFull, NotFound, StackctlError, StoreCorrupt
from stackctl_daemon.app import App
from stackctl_daemon.http import openapi
from stackctl_daemon.http.registry import Reply, Request, Route

API = "v1"
STATUS_WINDOW_S = 3600.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """State of each area."""

    ok: bool
    areas: list[AreaHealth]


class SystemService:
    """What the daemon says about itself."""

    def __init__(
        self, app: App, *, stop: Callable[[], None], reload: Callable[[], Awaitable[None]]
    ) -> None:
        self._app = app
        self.stop = stop
        self.reload = reload

    def version(self) -> Version:
        """Give who answers."""
        return Version(
            version=__version__,
            api=API,
            pid=os.getpid(),
            target=self._app.target,
            started_at=self._app.started_at,
            uptime_s=time.monotonic() - self._app.started_s,
        )

    async def status(self) -> Status:
        """Give the whole picture; an area that cannot answer is degraded in it, not an error."""
        areas = {area.name: await area.health() for area in self._app.areas}

        async def ask(name: str, question: Callable[[], Awaitable[Any]], fallback: Any) -> Any:
            try:
                return await question()
            except StackctlError as err:
                areas[name] = AreaHealth(
                    name=name, state="degraded", reason=err.message, hint=err.hint
                )
                return fallback

        return Status(
            daemon=self.version(),
            devices=await ask("devices", self._app.list_devices, []),
            collections=await ask("search", self._app.list_collections, []),
            jobs=self._app.jobs.active(),
            summary=await ask("analytics", self._summary, None),
            memory_rss_bytes=rss_bytes(),
            api_url=self._app.api_url,
            areas=list(areas.values()),
        )

    async def health(self) -> Health:
        """Give the areas' states."""
        areas = [await area.health() for area in self._app.areas]
        return Health(ok=all(area.state != "degraded" for area in areas), areas=areas)

    def config(self) -> ConfigReply:
        """Give the configuration in force."""
        values: dict[str, Any] = msgspec.to_builtins(self._app.settings)
        return ConfigReply(values=values, sources=self._app.sources)

    async def repair(self, name: str) -> RepairReply:
        """Repair an area.

        Raises:
            NotFound: the target does not run it.
        """
        area = self._app.area(name)
        if area is None:
            raise NotFound(f"target {self._app.target} has no area {name}", hint="stackctl status")
        return RepairReply(area=name, actions=await area.repair())

    async def _summary(self) -> Summary | None:
        area = self._app.area("analytics")
        if area is None or area.error is not None:
            return None
        found: Summary = await self._app.analytics.summary(STATUS_WINDOW_S)
        return found


def rss_bytes() -> int:
    """Resident memory of this process, from proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def routes(service: SystemService, app: App) -> list[Route]:
    """Give the routes of the daemon itself."""

    async def version(request: Request) -> Reply:
        return Reply(service.version())

    async def status(request: Request) -> Reply:
        return Reply(await service.status())

    async def health(request: Request) -> Reply:
        return Reply(await service.health())

    async def shutdown(request: Request) -> Reply:
        service.stop()
        return Reply(Shutdown(pid=os.getpid()))

    async def show_config(request: Request) -> Reply:
        return Reply(service.config())

    async def reload_config(request: Request) -> Reply:
        await service.reload()
        return Reply(service.config())

    async def repair(request: Request) -> Reply:
        return Reply(await service.repair(request.body.area))

    async def show_openapi(request: Request) -> Reply:
        return Reply(openapi.document(app.registry))

    return [
        Route(
            "system.version",
            "GET",
            "/v1/version",
            "read",
            version,
            "Who answers.",
            reply=Version,
        ),
        Route(
            "system.status",
            "GET",
            "/v1/status",
            "read",
            status,
            "The whole picture on one page.",
            reply=Status,
        ),
        Route(
            "system.health",
            "GET",
            "/v1/health",
            "read",
            health,
            "State of each area.",
            reply=Health,
        ),
        Route(
            "system.shutdown",
            "POST",
            "/v1/shutdown",
            "admin",
            shutdown,
            "End the daemon after the requests and jobs under way reach a safe point.",
            reply=Shutdown,
            status=202,
            durable=True,
        ),
        Route(
            "config.show",
            "GET",
            "/v1/config",
            "read",
            show_config,
            "The configuration in force.",
            reply=ConfigReply,
        ),
        Route(
            "config.reload",
            "POST",
            "/v1/config/reload",
            "admin",
            reload_config,
            "Read the configuration again, all or nothing.",
            reply=ConfigReply,
            errors=(BadConfig, Conflict),
            durable=True,
        ),
        Route(
            "system.repair",
            "POST",
            "/v1/repair",
            "admin",
            repair,
            "Rebuild an area's derived data, or set its corrupt store aside.",
            body=Repair,
            reply=RepairReply,
            timeout_s=600.0,
            errors=(Conflict, NotFound, StoreCorrupt, DiskFull),
            durable=True,
        ),
        Route(
            "system.openapi",
            "GET",
            "/v1/openapi.json",
            "read",
            show_openapi,
            "This API as OpenAPI 3.1.",
            reply=dict[str, Any],
        ),
    ]
