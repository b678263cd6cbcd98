"""An area as the composition root sees it: it starts, may be degraded, and closes.

Refuses to know what an area does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from stackctl.contracts.event import Event
from stackctl.contracts.system import AreaHealth
from stackctl.errors import Conflict, StackctlError
from stackctl_daemon.events import EventSink
from stackctl_daemon.http.registry import Handler, Reply, Request, Route

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Area:
    """One area's life; its routes answer ``error`` while it is degraded."""

    name: str
    on_start: Callable[[], Awaitable[None]] | None = None
    on_close: Callable[[], Awaitable[None]] | None = None
    on_repair: Callable[[], Awaitable[list[str]]] | None = None
    on_health: Callable[[], AreaHealth | Awaitable[AreaHealth]] | None = None
    error: StackctlError | None = None
    started: bool = False

    async def start(self) -> None:
        """Start; an error of ours degrades the area instead of ending the daemon."""
        try:
            if self.on_start is not None:
                await self.on_start()
            self.error = None
        except StackctlError as err:
            self.error = err
            log.error("area_degraded area=%s error=%s", self.name, err.message)
        self.started = True

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Close; what does not end in time is left to the end of the process."""
        if self.on_close is None or not self.started:
            return
        try:
            async with asyncio.timeout(min(timeout_s, CLOSE_TIMEOUT_S)):
                await self.on_close()
        except Exception as err:
            # The daemon's end: the other areas must still get to flush.
            log.error("area_not_closed area=%s error=%r", self.name, err, exc_info=err)

    async def repair(self) -> list[str]:
        """Repair, and start again when it was degraded.

        Raises:
            Conflict: the area has nothing to repair.
        """
        if self.on_repair is None:
            raise Conflict(f"area {self.name} has nothing to repair", hint="stackctl status")
        actions = await self.on_repair()
        if self.error is not None:
            await self.start()
            self.check()
            actions = [*actions, f"started {self.name}"]
        return actions

    def check(self) -> None:
        """Raise a fresh copy of the error of a degraded area: many requests may meet it."""
        error = self.error
        if error is not None:
            raise type(error)(error.message, hint=error.hint, retry_after_s=error.retry_after_s)

    async def health(self) -> AreaHealth:
        """Give its state."""
        if self.error is not None:
            return AreaHealth(
                name=self.name, state="degraded", reason=self.error.message, hint=self.error.hint
            )
        if self.started and self.on_health is not None:
            found = self.on_health()
            return found if isinstance(found, AreaHealth) else await found
        return AreaHealth(name=self.name, state="ready" if self.started else "off")

    def guard(self, routes: Sequence[Route]) -> list[Route]:
        """Give the routes so that they answer the area's error while it is degraded."""
        return [replace(route, handler=self._guarded(route.handler)) for route in routes]

    def _guarded(self, handler: Handler) -> Handler:
        async def run(request: Request) -> Reply:
            self.check()
            return await handler(request)

        return run


class LogSink:
    """Events of a target without analytics go to the log, which is all it has."""

    async def record(self, events: Sequence[Event]) -> None:
        """Log the events."""
        for event in events:
            self.emit(event)

    def emit(self, event: Event) -> None:
        """Log an event."""
        log.info("event %s", msgspec.json.encode(event).decode())


class AreaSink:
    """Sends events to analytics while it is there, and to the log while it is degraded.

    A corrupt event store must not keep the daemon from serving, or from being repaired.
    """

    def __init__(self, area: Area, sink: EventSink) -> None:
        self._area = area
        self._sink = sink
        self._log = LogSink()

    @property
    def _now(self) -> EventSink:
        ready = self._area.started and self._area.error is None
        return self._sink if ready else self._log

    async def record(self, events: Sequence[Event]) -> None:
        """Return when the events are on disk."""
        await self._now.record(events)

    def emit(self, event: Event) -> None:
        """Queue an event without waiting."""
        self._now.emit(event)
