"""Events and their summary over HTTP; refuses to hold rules that the service does not know."""

from __future__ import annotations

from stackctl.contracts import analytics
from stackctl.contracts.event import EventAck, EventBatch, Summary
from stackctl.errors import Conflict, DiskFull, Failed, Invalid, StoreCorrupt, TimedOut, TooLarge
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

    async def query(request: Request) -> Reply:
        return Reply(await service.query(request.body))

    async def sql(request: Request) -> Reply:
        return Reply(await service.sql(request.body))

    async def events(request: Request) -> Reply:
        asked = request.query
        return Reply(await service.events(asked["after_seq"], asked["limit"], asked["kind"]))

    unable = (StoreCorrupt, Conflict, Failed)
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
            errors=unable,
        ),
        Route(
            name="analytics.query",
            method="POST",
            path="/v1/analytics/query",
            permission="read",
            handler=query,
            summary="Figures over a range of time, in steps and by dimensions",
            body=analytics.Query,
            reply=analytics.QueryResult,
            errors=(*unable, TimedOut),
        ),
        Route(
            name="analytics.sql",
            method="POST",
            path="/v1/analytics/sql",
            permission="read",
            handler=sql,
            summary="Answer one SELECT over events and rollups; it cannot write",
            body=analytics.SqlRequest,
            reply=analytics.QueryResult,
            errors=(*unable, TimedOut, TooLarge),
            timeout_s=90.0,
        ),
        Route(
            name="analytics.events",
            method="GET",
            path="/v1/analytics/events",
            permission="read",
            handler=events,
            summary="Stored events in order of their numbers",
            reply=analytics.EventPage,
            queries=(
                Query("after_seq", int, -1, "Give those behind it; -1: the last ones", minimum=-1),
                Query("limit", int, 100, "Most events", minimum=1, maximum=1000),
                Query("kind", str, "", "Of this kind alone"),
            ),
            errors=unable,
        ),
    ]
