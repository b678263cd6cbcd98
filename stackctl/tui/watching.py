"""Requests by which somebody watches: left out of figures, or a dashboard would see itself."""

from __future__ import annotations

from typing import Any

ROUTES = frozenset(
    {
        "analytics.events",
        "analytics.query",
        "analytics.sql",
        "analytics.summary",
        "collections.list",
        "config.show",
        "devices.list",
        "insights.list",
        "insights.show",
        "jobs.list",
        "models.list",
        "models.running",
        "system.health",
        "system.status",
        "system.version",
    }
)
"""Names of the routes that a dashboard asks; at most 16, as a query has conditions."""


def left_out() -> list[dict[str, Any]]:
    """Give the conditions of a query that leave them out."""
    return [{"field": "name", "op": "ne", "value": name} for name in sorted(ROUTES)]


def is_watching(event: Any) -> bool:
    """Tell whether an event is of such a request."""
    return event.kind == "request" and event.name in ROUTES
