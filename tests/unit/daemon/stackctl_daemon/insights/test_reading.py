"""From questions to the panel."""

from __future__ import annotations

import asyncio
import math

import pytest
from fakes.event_figures import EventFigures

from stackctl.contracts.event import Event
from stackctl_daemon.insights import reading
from stackctl_daemon.insights.finding import MINUTE_US
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.reading import Reader

DISK = "disk.free_bytes"
NOW = 29_000_160 * MINUTE_US


def event(id_: str, ago_minutes: float, **fields: object) -> Event:
    base = {"kind": "request", "name": "embed", "model": "minilm", "uid": 1000, "duration_s": 0.5}
    return Event(id=id_, time_us=NOW - int(ago_minutes * MINUTE_US), **(base | fields))  # type: ignore[arg-type]


def read(events: list[Event]) -> Panel:
    panel = Panel()
    asyncio.run(Reader(EventFigures(events)).read(panel, NOW))
    return panel


def test_requests_are_parted_by_outcome() -> None:
    panel = read(
        [event("a", 0.5), event("b", 0.6), event("c", 0.7, outcome="error", error_code="internal")]
    )

    assert panel.answers.keys == [("embed", "minilm", "", "1000")]
    assert panel.answers.lines("").minutes[0, -1] == 2
    assert panel.answers.latency("").minutes[0, -1] == pytest.approx(math.log(0.5))
    assert panel.failures.keys == [("embed", "minilm", "internal", "1000")]
    assert panel.traffic("model").minutes[0, -1] == 3


def test_hours_of_weeks_ago_are_there() -> None:
    panel = read([event("a", 20 * 1440)])

    assert panel.answers.lines("").hours.sum() == 1


def test_batches_that_waited_are_counted_apart() -> None:
    batch = {"kind": "inference", "device": "cpu:0"}
    panel = read(
        [
            event("a", 1.5, **batch, attributes={"queue_s": 0.3}),
            event("b", 1.5, **batch, attributes={"queue_s": 0.1}),
        ]
    )

    assert panel.inference.lines("device").minutes[0, -2] == 2
    assert panel.queued.lines("device").minutes[0, -2] == 1


def test_jobs_and_metrics_are_samples() -> None:
    panel = read(
        [
            event("j", 3, kind="job", name="index", job_id="j7", duration_s=12.0, model=""),
            event("m", 2, kind="metric", name=DISK, attributes={"value": 5e9}, model=""),
            event("n", 2, kind="metric", name="heat", attributes={"value": 50}, model=""),
        ]
    )

    assert [(s.value, s.id) for s in panel.jobs["index",]] == [(12.0, "j7")]
    assert list(panel.metrics) == [(DISK, "", "")]
    assert panel.metrics[DISK, "", ""][0].value == 5e9


def test_late_events_are_read_and_counted_once() -> None:
    figures = EventFigures([event("a", 0.5)])
    panel, reader = Panel(), Reader(figures)

    async def go() -> None:
        await reader.read(panel, NOW)
        figures.events += [event("late", 1.5), event("new", -0.5)]
        await reader.read(panel, NOW + MINUTE_US)

    asyncio.run(go())

    assert list(panel.answers.lines("").minutes[0, -3:]) == [1, 1, 1]


def test_more_rows_than_fit_are_read_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LIMIT", 10)
    panel = read([event(f"e{n}", n + 0.5) for n in range(100)])

    assert panel.answers.lines("").minutes[0, -100:].sum() == 100
