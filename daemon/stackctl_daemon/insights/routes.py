"""Insights over HTTP; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.insight import Insight, InsightList, Mute
from stackctl.errors import DiskFull, Invalid, NotFound, StoreCorrupt
from stackctl_daemon.http.registry import Query, Reply, Request, Route
from stackctl_daemon.insights.service import CHECK_TIMEOUT_S, InsightService

PATH = "/v1/insights"
ONE = f"{PATH}/{{id}}"


def routes(service: InsightService) -> list[Route]:
    """Give the routes of insights."""

    async def list_insights(request: Request) -> Reply:
        return Reply(service.list(request.query["state"]))

    async def show(request: Request) -> Reply:
        return Reply(service.get(request.params["id"]))

    async def mute(request: Request) -> Reply:
        return Reply(await service.mute(request.params["id"], request.body))

    async def unmute(request: Request) -> Reply:
        return Reply(await service.unmute(request.params["id"]))

    async def check(request: Request) -> Reply:
        return Reply(await service.check())

    states = (Query("state", str, "open", "open, resolved, muted or all.", maximum=32),)
    kept = (NotFound, Invalid, StoreCorrupt, DiskFull)
    return [
        Route(
            "insights.list", "GET", PATH, "read", list_insights,
            "Insights of a state, the greatest score first.",
            reply=InsightList, queries=states, errors=(Invalid, StoreCorrupt),
        ),
        Route(
            "insights.show", "GET", ONE, "read", show,
            "One insight, by its id or a unique beginning of it.",
            reply=Insight, errors=kept,
        ),
        Route(
            "insights.mute", "POST", f"{ONE}/mute", "operate", mute,
            "Say no more of an insight for a while.",
            body=Mute, reply=Insight, errors=kept, durable=True,
        ),
        Route(
            "insights.unmute", "POST", f"{ONE}/unmute", "operate", unmute,
            "Speak of an insight again.",
            reply=Insight, errors=kept, durable=True,
        ),
        Route(
            "insights.check", "POST", f"{PATH}/check", "operate", check,
            "Look for insights now, and give those that are open.",
            reply=InsightList, errors=(StoreCorrupt, DiskFull),
            timeout_s=CHECK_TIMEOUT_S + 10,
        ),
    ]  # fmt: skip
