"""The insights' port over a plain list of events: answers are counted when they are asked."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from stackctl.contracts.analytics import Column, Filter, Query, QueryResult
from stackctl.contracts.event import Event
from stackctl.errors import StackctlError


class EventFigures:
    """Holds events; ``asked`` has every question, ``failure`` is raised instead of an answer."""

    def __init__(self, events: list[Event] | None = None) -> None:
        self.events = events or []
        self.asked: list[Query] = []
        self.failure: StackctlError | None = None

    async def query(self, query: Query) -> QueryResult:
        """Group, count and give the first ``limit`` rows in order of time and groups."""
        self.asked.append(query)
        if self.failure is not None:
            raise self.failure
        groups: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
        step_us = query.step_s * 1_000_000
        for event in self.events:
            inside = query.since_us <= event.time_us < query.until_us
            if not inside or (query.kind and event.kind != query.kind):
                continue
            if all(_holds(event, condition) for condition in query.where):
                keys = [_text(_field(event, name)) for name in query.group_by]
                groups[event.time_us // step_us * step_us, *keys].append(event)
        rows = [
            [*key, *(_figure(found, measure) for measure in query.measures)]
            for key, found in sorted(groups.items())
        ]
        return QueryResult(
            columns=[
                Column(name="time", role="time"),
                *(Column(name=name, role="group") for name in query.group_by),
                *(Column(name=name, role="measure") for name in query.measures),
            ],
            rows=rows[: query.limit],
            truncated=len(rows) > query.limit,
        )


def _field(event: Event, name: str) -> Any:
    if name.startswith("attributes."):
        return event.attributes.get(name.removeprefix("attributes."))
    return getattr(event, name)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _holds(event: Event, condition: Filter) -> bool:
    value = _field(event, condition.field)
    if condition.op == "eq":
        return bool(value == condition.value)
    if condition.op == "ge":
        return value is not None and value >= condition.value
    if condition.op == "in":
        return value in condition.value
    raise NotImplementedError(condition.op)


def _figure(events: list[Event], measure: str) -> float:
    durations = [event.duration_s for event in events]
    figures = {
        "count": len(events),
        "p50_s": statistics.median(durations),
        "max_s": max(durations),
    }
    return figures[measure]
