"""Events and their summary over HTTP; refuses to hold rules that the service does not know."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from stackctl.contracts import analytics
from stackctl.contracts.event import Event, EventAck, EventBatch, Summary
from stackctl.errors import (
    Conflict,
    Denied,
    DiskFull,
    Failed,
    Invalid,
    StoreCorrupt,
    TimedOut,
    TooLarge,
)
from stackctl_daemon.analytics.service import MAX_BATCH, MAX_WINDOW_S, AnalyticsService
from stackctl_daemon.http.registry import Query, Reply, Request, Route


def routes(service: AnalyticsService) -> list[Route]:
    """Give the area's routes."""

    async def record(request: Request) -> Reply:
        events = request.body.events
        if not 1 <= len(events) <= MAX_BATCH:
            raise Invalid(f"{len(events)} events, expected 1 to {MAX_BATCH}")
        await service.record(_owned(events, request.uid))
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
            permission="admin",
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


def _owned(events: Sequence[Event], uid: int) -> list[Event]:
    """Give the events with their sender's uid where they have none.

    Raises:
        Denied: one is of another user, and the sender does not own the daemon, or is an ``audit``.
    """
    owner = uid in (0, os.geteuid())
    owned = []
    for number, event in enumerate(events):
        if event.kind == "audit":
            raise Denied(
                f'events[{number}].kind is "audit", which the daemon alone writes, expected "user"'
            )
        if event.uid not in (-1, uid) and not owner:
            raise Denied(f"events[{number}].uid is {event.uid}, expected {uid}, who sends it")
        owned.append(event if event.uid != -1 else msgspec.structs.replace(event, uid=uid))
    return owned
