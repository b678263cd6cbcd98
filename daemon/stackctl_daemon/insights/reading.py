"""Fills the panel from the analytics store; refuses to judge what it reads.

The first time it reads hours of five weeks and minutes of half a day; after that only the
minutes that are new, and the last few again, because events come late. Where nothing new
happened one question is all that it asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stackctl.contracts.analytics import Filter, Measure, Query
from stackctl_daemon.insights.detectors.disk import METRIC as DISK
from stackctl_daemon.insights.finding import MINUTE_US
from stackctl_daemon.insights.grid import HOURS, LATE_MINUTES, MINUTES, Grid
from stackctl_daemon.insights.panel import Panel, Sample
from stackctl_daemon.insights.ports import Figures

LIMIT = 10_000
MOST_STEPS = 5000
"""Steps asked for at once; the store takes no more than 10,000."""
LONG_QUEUE_S = 0.25
"""A batch that waited so long counts as queued."""
METRIC_MINUTES = 8 * 1440
WATCHED = [
    DISK,
    *(f"{part}.memory_bytes" for part in ("process", "worker", "device", "container")),
]
"""Metrics that forecasts are made of; others would be read for nothing."""
JOB_HOURS = 14 * 24
_ROW = list[Any]  # Any: a row of an answer holds text and numbers


@dataclass(frozen=True, slots=True)
class View:
    """What one grid is filled with."""

    grid: str
    kind: str
    measures: Sequence[Measure] = ("count",)
    where: Sequence[Filter] = field(default_factory=tuple)


SOURCES = View("sources", "")
VIEWS = (
    View(
        "answers",
        "request",
        ("count", "p50_s", "max_s"),
        (Filter(field="outcome", value="ok"),),
    ),
    View("failures", "request", ("count",), (Filter(field="outcome", value="error"),)),
    View("inference", "inference", ("count", "p50_s", "max_s")),
    View(
        "queued",
        "inference",
        ("count",),
        (Filter(field="attributes.queue_s", op="ge", value=LONG_QUEUE_S),),
    ),
)


class Reader:
    """Keeps a panel up to date."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    async def read(self, panel: Panel, now_us: int) -> bool:
        """Bring the panel to the last whole minute; say whether a minute has passed.

        Raises:
            StackctlError: the store cannot answer now; the panel is read again from where it was.
        """
        end = now_us // MINUTE_US
        if not panel.ready or end - panel.end >= MINUTES:
            await self._begin(panel, end)
            return True
        if end <= panel.end:
            return False
        since = panel.end - LATE_MINUTES
        known = float(panel.sources.lines("").minutes[:, -LATE_MINUTES:].sum())
        fresh = await self._rows(_query(panel, SOURCES, since, end, 60))
        answers = []
        if sum(count for *_, count in fresh) != known:
            answers = [
                (view, await self._rows(_query(panel, view, since, end, 60))) for view in VIEWS
            ]
            jobs, metrics = await self._jobs(since, end, 60), await self._metrics(since, end)
        panel.advance(end)
        if answers:
            for view, rows in [(SOURCES, fresh), *answers]:
                grid: Grid = getattr(panel, view.grid)
                grid.clear(since)
                _fill(grid, view, rows)
            _replace(panel, "jobs", since, jobs)
            _replace(panel, "metrics", since, metrics)
        return True

    async def _begin(self, panel: Panel, end: int) -> None:
        fresh = Panel()
        fresh.begin(end)
        hour = fresh.sources.end_hour
        for view in (SOURCES, *VIEWS):
            grid: Grid = getattr(fresh, view.grid)
            old = await self._rows(_query(fresh, view, (hour - HOURS) * 60, hour * 60, 3600))
            _fill(grid, view, old, hours=True)
            _fill(grid, view, await self._rows(_query(fresh, view, end - MINUTES, end, 60)))
        whole = end - LATE_MINUTES
        for key, sample in [
            *await self._jobs((hour - JOB_HOURS) * 60, hour * 60, 3600),
            *await self._jobs(hour * 60, end, 60),
        ]:
            fresh.sample("jobs", key, sample)
        for key, sample in await self._metrics(whole - METRIC_MINUTES, end):
            fresh.sample("metrics", key, sample)
        for name in ("answers", "failures", "inference", "queued", "sources", "jobs", "metrics"):
            setattr(panel, name, getattr(fresh, name))
        panel.end, panel.ready = end, True

    async def _jobs(
        self, since: int, until: int, step_s: int
    ) -> list[tuple[tuple[str, ...], Sample]]:
        query = _range(
            Query(
                measures=["max_s"],
                kind="job",
                step_s=step_s,
                group_by=["name", "job_id"],
                limit=LIMIT,
            ),
            since,
            until,
        )
        return [
            ((name,), Sample(at // MINUTE_US, float(took), job))
            for at, name, job, took in await self._rows(query)
            if took
        ]

    async def _metrics(self, since: int, until: int) -> list[tuple[tuple[str, ...], Sample]]:
        dims = ["name", "device", "model", "attributes.value"]
        query = _range(
            Query(
                measures=["count"],
                kind="metric",
                step_s=60,
                group_by=dims,
                where=[Filter(field="name", op="in", value=WATCHED)],
                limit=LIMIT,
            ),
            since,
            until,
        )
        found: list[tuple[tuple[str, ...], Sample]] = []
        for at, name, device, model, text, _ in await self._rows(query):
            value = _number(text)
            if value is not None:
                found.append(((name, device, model), Sample(at // MINUTE_US, value)))
        return found

    async def _rows(self, query: Query) -> list[_ROW]:
        """Give every row, time first; a range with more than fit is halved."""
        step_us = query.step_s * 1_000_000
        steps = (query.until_us - query.since_us) // step_us
        answer = await self._figures.query(query) if steps <= MOST_STEPS else None
        if answer is None or (answer.truncated and steps > 1):
            middle = query.since_us + steps // 2 * step_us
            first = msgspec.structs.replace(query, until_us=middle)
            second = msgspec.structs.replace(query, since_us=middle)
            return [*await self._rows(first), *await self._rows(second)]
        place = {column.name: at for at, column in enumerate(answer.columns)}
        time = next(at for at, column in enumerate(answer.columns) if column.role == "time")
        groups = [place[name] for name in query.group_by]
        figures = [place[name] for name in query.measures]
        return [
            [int(row[time]), *(_text(row[at]) for at in groups), *(row[at] for at in figures)]
            for row in answer.rows
        ]


def _query(panel: Panel, view: View, since: int, until: int, step_s: int) -> Query:
    grid: Grid = getattr(panel, view.grid)
    query = Query(
        measures=list(view.measures),
        kind=view.kind,
        step_s=step_s,
        group_by=list(grid.dims),
        where=list(view.where),
        limit=LIMIT,
    )
    return _range(query, since, until)


def _range(query: Query, since: int, until: int) -> Query:
    return msgspec.structs.replace(
        query, since_us=max(1, since * MINUTE_US), until_us=until * MINUTE_US
    )


def _fill(grid: Grid, view: View, rows: list[_ROW], *, hours: bool = False) -> None:
    size = len(grid.dims)
    for row in rows:
        key = tuple(row[1 : 1 + size])
        figures = dict(zip(view.measures, row[1 + size :], strict=True))
        values = {"count": float(figures["count"])}
        if "p50_s" in figures:
            values["log_s"] = math.log(max(figures["p50_s"] or 0.0, 1e-6))
            values["max_s"] = float(figures["max_s"] or 0.0)
        minute = row[0] // MINUTE_US
        if hours:
            grid.put_hour(key, minute // 60, values)
        else:
            grid.put(key, minute, values)


def _replace(
    panel: Panel, into: str, since: int, samples: list[tuple[tuple[str, ...], Sample]]
) -> None:
    """Take samples in; those of minutes that were read again go first."""
    kept = panel.jobs if into == "jobs" else panel.metrics
    for series in kept.values():
        while series and series[-1].minute >= since:
            series.pop()
        oldest = panel.end - (JOB_HOURS * 60 if into == "jobs" else METRIC_MINUTES)
        while series and series[0].minute < oldest:
            series.popleft()
    for key, sample in samples:
        panel.sample(into, key, sample)
    for key in [key for key, series in kept.items() if not series]:
        del kept[key]


def _text(value: Any) -> str:
    return "" if value is None or value == -1 else str(value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
