"""Saturation: requests refused as overloaded, or batches that wait long, against history."""

from __future__ import annotations

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, named, points
from stackctl_daemon.insights.grid import FloatArray, Grid
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence, onset, surprise

MINUTES = 10
LEAST_NATS = 12.0
LEAST_COUNT = 8.0
LEAST_SHARE = 0.05
LEAST_WAITING = 0.35
HISTORY = 14 * 24


def detect(panel: Panel) -> list[Finding]:
    """Give the models or devices that have more to do than they can."""
    refused = _most(panel, panel.failures, ("model",), "overloaded")
    waiting = _most(panel, panel.queued, ("device", "model"), "")
    found = max((f for f in (refused, waiting) if f is not None), key=_by_confidence, default=None)
    return [found] if found else []


def _by_confidence(finding: Finding) -> float:
    return finding.confidence


def _most(panel: Panel, grid: Grid, dims: tuple[str, ...], code: str) -> Finding | None:
    """Find the value that suffers most; all of them together where none stands out."""
    best: tuple[float, dict[str, str], FloatArray, FloatArray, float] | None = None
    whole = panel.traffic("") if code else panel.inference.lines("")
    for dim in dims:
        lines = panel.traffic(dim) if code else panel.inference.lines(dim)
        for value in lines.values:
            rows = [
                r
                for r in grid.members(dim, value)
                if not code or grid.keys[r][grid.dims.index("error_code")] == code
            ]
            if not rows:
                continue
            at = lines.row(value)
            bad, past = (
                grid.minutes["count"][rows].sum(axis=0),
                grid.hours["count"][rows].sum(axis=0),
            )
            sent = lines.minutes[at]
            nats, was = _tested(bad, past, sent, lines.hours[at], bool(code))
            # A value stands out when its part of the trouble is beyond its part of the work.
            part = bad[-MINUTES:].sum() / max(grid.minutes["count"][:, -MINUTES:].sum(), 1)
            of = sent[-MINUTES:].sum() / max(whole.minutes[0, -MINUTES:].sum(), 1)
            merit = nats * (0.2 + max(0.0, float(part - of)))
            if nats >= LEAST_NATS and (best is None or merit > best[0]):
                best = (merit, {dim: value}, bad, sent, was)
    if best is None:
        return None
    _, subject, bad, sent, was = best
    return _finding(panel, subject, bad, sent, was, refused=bool(code))


def _tested(
    bad: FloatArray, past: FloatArray, sent: FloatArray, past_sent: FloatArray, refused: bool
) -> tuple[float, float]:
    seen, of = float(bad[-MINUTES:].sum()), float(sent[-MINUTES:].sum())
    past, past_sent = past[-HISTORY:], past_sent[-HISTORY:]
    used = past_sent >= 5
    rates = past[used] / past_sent[used] if used.any() else np.zeros(1, np.float32)
    was = max(float(np.quantile(rates, 0.9)), 0.005 if refused else 0.02)
    least = LEAST_SHARE if refused else LEAST_WAITING
    if seen < LEAST_COUNT or seen < max(least, 3 * was) * of:
        return 0.0, was
    return surprise(seen, was * max(of, 1.0), 0.3), was


def _finding(
    panel: Panel,
    subject: dict[str, str],
    bad: FloatArray,
    sent: FloatArray,
    was: float,
    *,
    refused: bool,
) -> Finding:
    seen, of = float(bad[-MINUTES:].sum()), float(sent[-MINUTES:].sum())
    share = seen / max(of, seen, 1)
    began = panel.end - 180 + onset(bad[-180:], seen / MINUTES / 2, up=True)
    what = "of requests are refused as overloaded" if refused else "of batches wait 250 ms or more"
    kind = "request" if refused else "inference"
    return Finding(
        kind="saturation",
        subject=subject,
        severity="critical" if refused and share >= 0.3 else "warning",
        title=f"{named(subject)} is saturated: {share:.0%} {what}, for {ago(panel.end - began)}",
        measure="error_rate" if refused else "count",
        before=was,
        after=share,
        unit="",
        began=began,
        confidence=confidence(surprise(seen, was * of, 0.3) - LEAST_NATS),
        why=[f"{seen:.0f} of {of:.0f} in {MINUTES} min; {was:.1%} was the worst that is usual"],
        query=ask(kind, subject, began, ["count", "errors", "p95_s"], group_by=["error_code"]),
        evidence=points(panel.end, bad[-180:], sent[-180:] * was, per=sent[-180:]),
        action="stackctl models ps",
        resolves="for 15 min neither refusals nor waiting are beyond three times the usual",
    )
