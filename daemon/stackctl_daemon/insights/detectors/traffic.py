"""Traffic that drops or surges against the hour of the week.

A quasi-Poisson test of 10, 20 and 60 minutes for all requests, each model and each route; of
several that deviate the one is told that explains the change at the least extent, as in
Adtributor (Bhagwan et al. 2014), whose explanatory power and surprise these two figures are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, named, points
from stackctl_daemon.insights.grid import MINUTES, FloatArray
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence, onset, surprise

WINDOWS = (10, 20, 60)
LEAST_NATS = 16.0
"""Surprise that is told: e**-16 is once in some thirty years of minutes; they are not independent
and there are many series, which takes most of it."""
DROP, SURGE = 0.5, 2.0
LEAST_REQUESTS = 25.0
EXPLAINS = 0.7
ONE_USER = 0.65
"""Part of a surge from one user above which it is that user's, not the traffic's."""

Direction = Literal["traffic-drop", "traffic-surge"]


@dataclass(frozen=True, slots=True)
class _Deviation:
    dim: str
    value: str
    observed: float
    usual: float
    nats: float
    minutes: int
    counts: FloatArray
    expectation: FloatArray

    @property
    def change(self) -> float:
        return self.observed - self.usual


def detect(panel: Panel) -> list[Finding]:
    """Give drops and surges."""
    found: list[Finding] = []
    if not panel.settled:
        return found
    for direction in ("traffic-drop", "traffic-surge"):
        deviations = _deviations(panel, direction)
        for deviation in _explanations(panel, deviations):
            if direction == "traffic-surge" and _from_one_user(panel, deviation):
                continue
            found.append(_finding(panel, direction, deviation))
    return found


def _deviations(panel: Panel, direction: str) -> list[_Deviation]:
    found = []
    for dim in ("", "model", "name"):
        lines = panel.traffic(dim)
        if not lines.values:
            continue
        usual = panel.profile(f"traffic.{dim}", lines)
        should = panel.expected(f"traffic.{dim}", lines)
        for row, value in enumerate(lines.values):
            best = None
            for minutes in WINDOWS:
                observed = float(lines.minutes[row, -minutes:].sum())
                was = float(should[row, -minutes:].sum())
                if not _counts(direction, observed, was):
                    continue
                nats = surprise(observed, was, float(usual.spread[row]))
                if nats >= LEAST_NATS and (best is None or nats > best.nats):
                    best = _Deviation(
                        dim, value, observed, was, nats, minutes, lines.minutes[row], should[row]
                    )
            if best is not None:
                found.append(best)
    return found


def _counts(direction: str, observed: float, usual: float) -> bool:
    if direction == "traffic-drop":
        return usual >= LEAST_REQUESTS and observed <= DROP * usual
    return observed >= LEAST_REQUESTS and observed >= SURGE * max(usual, 5.0)


def _explanations(panel: Panel, deviations: list[_Deviation]) -> list[_Deviation]:
    """Leave what is only a part, or a sum, of what another tells better."""
    whole = next((d for d in deviations if not d.dim), None)
    parts = [d for d in deviations if d.dim]
    if not parts:
        return deviations
    change = whole.change if whole else max((d.change for d in parts), key=abs)
    strong = [d for d in parts if d.change / change >= EXPLAINS]
    if whole and (not strong or _is_everywhere(panel, whole)):
        return [whole]
    if strong:
        # What explains more, and what deviates more: a part of the cause loses by the first, what
        # the cause is a part of by the second.
        return [max(strong, key=lambda d: d.change / change * _depth(d))]
    return [max(parts, key=lambda d: d.nats)]


def _is_everywhere(panel: Panel, whole: _Deviation) -> bool:
    """Say whether two values or more of each dimension share the change as they share traffic."""
    for dim in ("model", "name"):
        lines = panel.traffic(dim)
        should = panel.expected(f"traffic.{dim}", lines)[:, -whole.minutes :].sum(axis=1)
        seen = lines.minutes[:, -whole.minutes :].sum(axis=1)
        large = should >= 0.05 * should.sum()
        if large.sum() < 2:
            continue
        ratio = (seen[large] + 1) / (should[large] + 1)
        like = np.abs(np.log(ratio) - _log_ratio(whole)) < 0.6 * abs(_log_ratio(whole))
        if should[large][like].sum() < 0.8 * should[large].sum():
            return False
    return True


def _depth(deviation: _Deviation) -> float:
    lost = 1 - deviation.observed / max(deviation.usual, 1)
    return (lost if lost > 0 else _log_ratio(deviation)) * (
        1.05 if deviation.dim == "model" else 1
    )


def _log_ratio(deviation: _Deviation) -> float:
    return float(np.log((deviation.observed + 1) / (deviation.usual + 1)))


def _from_one_user(panel: Panel, deviation: _Deviation) -> bool:
    users = panel.traffic("uid")
    if len(users.values) < 2:
        return False
    should = panel.expected("traffic.uid", users)
    span = slice(MINUTES - deviation.minutes, MINUTES)
    excess = users.minutes[:, span].sum(axis=1) - should[:, span].sum(axis=1)
    return bool(excess.max() >= ONE_USER * deviation.change)


def _finding(panel: Panel, direction: str, deviation: _Deviation) -> Finding:
    drop = direction == "traffic-drop"
    subject = {deviation.dim: deviation.value} if deviation.dim else {}
    factor = deviation.observed / max(deviation.usual, 1)
    middle = deviation.expectation * (1 + min(factor, 10)) / 2
    if not drop:  # where nothing was expected, every minute would be above it
        middle = np.maximum(middle, deviation.observed / deviation.minutes / 2)
    span = 180
    start = onset(deviation.counts[-span:], middle[-span:], up=not drop)
    began = panel.end - span + start
    minutes = deviation.minutes
    rate, usual = deviation.observed / minutes, deviation.usual / minutes
    word = "fell" if drop else "rose"
    why = [
        f"{deviation.observed:.0f} requests in {minutes} min, {deviation.usual:.0f} are usual at"
        f" this hour of the week",
        f"by chance this happens less than once in e^{deviation.nats:.0f} such windows",
    ]
    return Finding(
        kind="traffic-drop" if drop else "traffic-surge",
        subject=subject,
        severity="critical" if drop and factor < 0.1 else "warning",
        title=f"traffic of {named(subject)} {word} to {rate:.3g}/min from {usual:.3g}/min"
        f" {ago(panel.end - began)} ago",
        measure="rate_per_s",
        before=usual / 60,
        after=rate / 60,
        unit="1/s",
        began=began,
        confidence=confidence(deviation.nats - LEAST_NATS),
        why=why,
        query=ask("request", subject, began, ["count", "errors"]),
        evidence=points(
            panel.end, deviation.counts[-span:], deviation.expectation[-span:], per=60.0
        ),
        action="stackctl logs" if drop else "stackctl devices",
        resolves=f"requests of 10 min are within {DROP:.0%} to {SURGE:.0%} of usual",
    )
