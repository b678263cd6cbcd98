"""What a detector found now; refuses to know whether it was there before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackctl.contracts.analytics import Filter, Measure, Query
from stackctl.contracts.event import EventKind
from stackctl.contracts.insight import InsightKind, Severity
from stackctl_daemon.insights.grid import OTHER

MINUTE_US = 60_000_000
DIMENSIONS = ("model", "device", "name", "uid", "error_code", "kind")


@dataclass(frozen=True, slots=True)
class Finding:
    """An insight before it has an id and a life."""

    kind: InsightKind
    subject: dict[str, str]
    severity: Severity
    title: str
    measure: str
    before: float
    after: float
    unit: str
    began: int
    """Minute since the epoch."""
    confidence: float
    why: list[str]
    query: Query
    evidence: list[list[Any]]
    action: str
    resolves: str


def named(subject: dict[str, str]) -> str:
    """Word a subject: ``model minilm, device cpu:0``; ``all requests`` when it is empty."""
    if not subject:
        return "all requests"
    return ", ".join(f"{k if k != 'name' else ''} {v}".strip() for k, v in subject.items())


def ask(
    kind: EventKind | str,
    subject: dict[str, str],
    began: int,
    measures: Sequence[Measure],
    *,
    group_by: Sequence[str] = (),
) -> Query:
    """Give the question that shows a finding: minutes from an hour before it began."""
    where = [
        Filter(field=field, value=int(value) if field == "uid" else value)
        for field, value in subject.items()
        if field in DIMENSIONS and field != "kind" and value != OTHER  # events have no such value
    ]
    return Query(
        measures=list(measures),
        kind=kind,
        since_us=max(0, began - 60) * MINUTE_US,
        window_s=7200.0,
        step_s=60,
        where=where,
        group_by=list(group_by),
    )


def points(
    end: int,
    values: Sequence[float] | NDArray[np.floating],
    expected: Sequence[float] | NDArray[np.floating],
    *,
    per: float | NDArray[np.floating] = 1.0,
) -> list[list[Any]]:
    """Give at most 60 evidence points of the minutes that end at ``end``.

    Args:
        end: the minute behind the last value.
        values: of each minute; nan where there is none.
        expected: what they usually are.
        per: what both are divided by, such as seconds of a minute, or requests in each.
    """
    size = len(values)
    step = max(1, -(-size // 60))
    pair = np.array([values, expected], float)
    whole = np.broadcast_to(np.asarray(per, float), size)
    known = ~np.isnan(pair).any(axis=0)
    found: list[list[Any]] = []
    for at in range(0, size, step):
        kept = slice(at, at + step)
        here = known[kept]
        by = float(whole[kept][here].sum())
        if by > 0:
            value, usual = pair[:, kept][:, here].sum(axis=1) / by
            found.append(
                [(end - size + at) * MINUTE_US, round(float(value), 6), round(float(usual), 6)]
            )
    return found


def ago(minutes: float) -> str:
    """Word a span of minutes."""
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 2880 else f"{minutes / 1440:.1f} days"


def seconds(value: float) -> str:
    """Word a duration."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
