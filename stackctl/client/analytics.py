"""Calls about events and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from stackctl.client.transport import Transport

if TYPE_CHECKING:
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
