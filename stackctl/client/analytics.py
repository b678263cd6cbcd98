"""Calls about events and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.analytics import EventPage, QueryResult
    from stackctl.contracts.event import EventAck, Summary


class AnalyticsCalls:
    """Record events, read figures."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def record(self, events: Sequence[Mapping[str, Any]]) -> EventAck:
        """Store events of the shape of `stackctl.contracts.event.Event`; durable on return."""
        body = {"events": [dict(event) for event in events]}
        return cast("EventAck", self._transport.request("POST", "/v1/events", body))

    def summary(self, window_s: float = 3600.0) -> Summary:
        """Counts, errors and quantiles of the last ``window_s`` seconds."""
        path = f"/v1/analytics/summary?window_s={window_s:g}"
        return cast("Summary", self._transport.request("GET", path))

    def query(self, **query: Any) -> QueryResult:
        """Answer a typed question; fields as in `stackctl.contracts.analytics.Query`."""
        return cast("QueryResult", self._transport.request("POST", "/v1/analytics/query", query))

    def sql(self, sql: str, *, limit: int = 1000, timeout_s: float = 10.0) -> QueryResult:
        """Answer one SELECT; it can neither write nor read files."""
        body = {"sql": sql, "limit": limit, "timeout_s": timeout_s}
        return cast("QueryResult", self._transport.request("POST", "/v1/analytics/sql", body))

    def events(self, *, after_seq: int = -1, limit: int = 100, kind: str = "") -> EventPage:
        """Events behind a number, oldest first; after -1 the last ``limit`` of them."""
        query = urlencode({"after_seq": after_seq, "limit": limit, "kind": kind})
        return cast("EventPage", self._transport.request("GET", f"/v1/analytics/events?{query}"))
