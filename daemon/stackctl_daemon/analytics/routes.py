"""Events and their summary over HTTP; refuses to hold rules that the service does not know."""

from __future__ import annotations

from stackctl.contracts.event import EventAck, EventBatch, Summary
from stackctl.errors import Conflict, DiskFull, Failed, Invalid, StoreCorrupt
from stackctl_daemon.analytics.service import MAX_BATCH, MAX_WINDOW_S, AnalyticsService
from stackctl_daemon.http.registry import Query, Reply, Request, Route


def routes(service: AnalyticsService) -> list[Route]:
    """Give the area's routes."""

    async def record(request: Request) -> Reply:
        events = request.body.events
        if not 1 <= len(events) <= MAX_BATCH:
            raise Invalid(f"{len(events)} events, expected 1 to {MAX_BATCH}")
        await service.record(events)
        return Reply(EventAck(accepted=len(events)))

    async def summary(request: Request) -> Reply:
        return Reply(await service.summary(request.query["window_s"]))

    return [
        Route(
            name="events.record",
            method="POST",
            path="/v1/events",
            permission="operate",
            handler=record,
            summary="Store events; the answer comes after they are on disk",
            body=EventBatch,
            reply=EventAck,
            errors=(DiskFull, Failed),
            max_body_bytes=8 << 20,
        ),
        Route(
            name="analytics.summary",
            method="GET",
            path="/v1/analytics/summary",
            permission="read",
            handler=summary,
            summary="Counts, errors and exact quantiles by kind and name",
            reply=Summary,
            queries=(
                Query(
                    "window_s",
                    float,
                    3600.0,
                    "Seconds back from now",
                    minimum=1,
                    maximum=MAX_WINDOW_S,
                ),
            ),
            errors=(StoreCorrupt, Conflict, Failed),
        ),
    ]
