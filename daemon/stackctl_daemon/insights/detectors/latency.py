"""Latency: a shift against the hour of the week, and a smaller lasting change point.

Works on the logarithm of each group's median of a minute, so that a factor is a step and one
slow answer does not count. What explains a shift is found by comparing groups inside of a value
with those outside, the contribution analysis of Adtributor (Bhagwan et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, named, points, seconds
from stackctl_daemon.insights.grid import FloatArray
from stackctl_daemon.insights.panel import REST_MINUTES, Panel, Rest
from stackctl_daemon.insights.statistics import confidence, onset, split

WINDOWS = (10, 30)
LEAST_SHIFT = float(np.log(1.4))
LEAST_Z = 6.0
LEAST_SAMPLES = 12
DIMS = ("model", "device", "name", "uid")
PREFERRED = {"model": 1.1, "device": 1.05}
"""Of what explains as much: where a route has one model, the model is what one can act on."""
CHANGE_SPAN = REST_MINUTES
CHANGE_BIN = 10
LEAST_CHANGE = float(np.log(1.14))
CHANGE_T = 6.5
LEAST_BINS = 12
"""Two hours: what is shorter is an incident, and not how things are from now on."""
SURE_Z = 3.0
BEYOND_HOURS = 3.2
"""Times what one hour differs from another: latency wanders without a cause to be found."""


@dataclass(frozen=True, slots=True)
class _Shift:
    dim: str
    value: str
    step: float
    """Of the logarithm."""
    z: float
    weight: float
    """Requests in the window."""
    minutes: int
    logs: FloatArray
    """Beyond the usual, by minute."""
    usual: float


def detect_shift(panel: Panel) -> list[Finding]:
    """Give the shift that goes on, if one does, with what explains it."""
    best: _Shift | None = None
    for minutes in WINDOWS:
        shifts = [s for dim in ("", *DIMS) for s in _shifts(panel, dim, minutes)]
        chosen = _explaining(panel, shifts)
        if chosen is not None and (best is None or chosen.z > best.z):
            best = chosen
    return [_shift_finding(panel, best)] if best else []


def _shifts(panel: Panel, dim: str, minutes: int) -> list[_Shift]:
    """Give every value's step, told or not."""
    if not panel.answers.keys:
        return []
    rest, counts = panel.rest(dim), panel.answers.lines(dim).minutes
    found = []
    for row, value in enumerate(rest.values):
        logs, weight = rest.minutes[row, -minutes:], counts[row, -minutes:]
        known = ~np.isnan(logs)
        if weight[known].sum() < LEAST_SAMPLES or known.sum() < 3:
            continue
        step = _weighted_median(logs[known], weight[known])
        noise = _noise(rest.minutes[row], counts[row, -REST_MINUTES:])
        error = np.hypot(float(rest.spread[row]), noise / np.sqrt(weight[known].sum()))
        found.append(
            _Shift(
                dim,
                value,
                step,
                step / float(error),
                float(weight.sum()),
                minutes,
                rest.minutes[row],
                float(rest.usual[row]),
            )
        )
    return found


def _noise(rest: FloatArray, counts: FloatArray) -> float:
    """Estimate one request's deviation from minutes before the window."""
    rest, counts = rest[:-60], counts[:-60]
    known = ~np.isnan(rest)
    if known.sum() < 10:
        return 1.0
    scaled = (rest[known] - np.median(rest[known])) * np.sqrt(counts[known])
    return max(1.4826 * float(np.median(np.abs(scaled))), 0.2)


def _weighted_median(values: FloatArray, weight: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _explaining(panel: Panel, shifts: list[_Shift]) -> _Shift | None:
    told = [s for s in shifts if s.step >= LEAST_SHIFT and s.z >= LEAST_Z]
    if not told:
        return None
    whole = next((s for s in shifts if not s.dim), None)
    best, merit = None, 0.0
    for shift in told:
        if not shift.dim:
            continue
        peers = [s for s in shifts if s.dim == shift.dim and s.value != shift.value]
        weight = sum(s.weight for s in peers)
        # Of the others only what is beyond their noise: else the dimension with more values loses.
        theirs = sum(s.weight * s.step for s in peers if s.step > 0 and s.z >= SURE_Z)
        contrast = shift.step - (theirs / weight if weight else 0.0)
        explained = shift.weight * shift.step
        explained /= max(explained + theirs, 1e-9)
        if contrast < 0.5 * shift.step:
            continue
        score = contrast * (0.3 + explained) * PREFERRED.get(shift.dim, 1.0)
        if score > merit:
            best, merit = shift, score
    if best is None:
        return whole if whole in told else max(told, key=lambda s: s.z)
    return best


def _shift_finding(panel: Panel, shift: _Shift) -> Finding:
    subject = {shift.dim: shift.value} if shift.dim else {}
    before = float(np.exp(shift.usual))
    after = before * float(np.exp(shift.step))
    began = panel.end - 180 + onset(shift.logs[-180:], shift.step / 2, up=True)
    return Finding(
        kind="latency-shift",
        subject=subject,
        severity="critical" if shift.step >= np.log(4) else "warning",
        title=f"{named(subject)} answers in {seconds(after)}, {np.exp(shift.step):.1f} times its"
        f" usual {seconds(before)}, for {ago(panel.end - began)}",
        measure="p50_s",
        before=before,
        after=after,
        unit="s",
        began=began,
        confidence=confidence(2 * (shift.z - LEAST_Z)),
        why=[
            f"the median of {shift.weight:.0f} requests in {shift.minutes} min is"
            f" {seconds(after)}; {seconds(before)} is usual at this hour",
            f"that is {shift.z:.1f} standard errors",
        ],
        query=ask("request", subject, began, ["count", "p50_s", "p95_s"]),
        evidence=points(panel.end, before * np.exp(shift.logs[-180:]), [before] * 180),
        action="stackctl devices" if shift.dim == "device" else "stackctl models ps",
        resolves=f"the median of 10 min is below {np.exp(LEAST_SHIFT):.1f} times the usual",
    )


def detect_change_point(panel: Panel) -> list[Finding]:
    """Give the surest lasting step of a model's or device's latency too small to be a shift."""
    found: list[tuple[float, Finding]] = []
    for dim in ("model", "device") if panel.answers.keys else ():
        rest = panel.rest(dim)
        counts = panel.answers.lines(dim).minutes[:, -CHANGE_SPAN:]
        for row, value in enumerate(rest.values):
            before = float(np.exp(rest.usual[row]))
            change = _change(panel, rest.minutes[row], counts[row], before, {dim: value})
            if change is not None and _is_its_own(panel, rest, counts, row, change[1]):
                found.append(change)
    return [max(found, key=lambda pair: pair[0])[1]] if found else []


def _is_its_own(panel: Panel, rest: Rest, counts: FloatArray, row: int, finding: Finding) -> bool:
    """Say whether it is beyond wandering, and others changed by less than half as much."""
    at = CHANGE_SPAN - (panel.end - finding.began)
    others = np.arange(len(rest.values)) != row
    means = []
    for part in (slice(0, at), slice(at, CHANGE_SPAN)):
        logs = rest.minutes[others, part]
        weight = np.where(np.isnan(logs), 0, counts[others, part])
        means.append(float((weight * np.nan_to_num(logs)).sum() / max(weight.sum(), 1)))
    step = float(np.log(finding.after / finding.before))
    if abs(step) < BEYOND_HOURS * float(rest.spread[row]):
        return False
    return (means[1] - means[0]) / step < 0.5


def _change(
    panel: Panel, logs: FloatArray, counts: FloatArray, before: float, subject: dict[str, str]
) -> tuple[float, Finding] | None:
    rest = logs.reshape(-1, CHANGE_BIN)
    weight = np.where(np.isnan(rest), 0, counts.reshape(-1, CHANGE_BIN))
    total = weight.sum(axis=1)
    if (total >= 4).mean() < 0.9:
        return None
    bins = (weight * np.nan_to_num(rest)).sum(axis=1)[total > 0] / total[total > 0]
    at, step, t = split(bins, LEAST_BINS)
    now = float(np.median(bins[-LEAST_BINS:]))
    if not LEAST_CHANGE <= abs(step) < LEAST_SHIFT + 0.15 or t < CHANGE_T:
        return None
    if abs(now) < LEAST_CHANGE * 0.7 or now * step < 0:
        return None
    began = panel.end - CHANGE_SPAN + at * CHANGE_BIN
    after = before * float(np.exp(step))
    finding = Finding(
        kind="change-point",
        subject=subject,
        severity="info",
        title=f"{named(subject)} answers {abs(np.exp(step) - 1):.0%}"
        f" {'slower' if step > 0 else 'faster'} since {ago(panel.end - began)} ago",
        measure="p50_s",
        before=before,
        after=after,
        unit="s",
        began=began,
        confidence=confidence(2 * (t - CHANGE_T)),
        why=[
            f"the log latency, the hour of the week taken out, steps by {step:+.2f}",
            f"the step is {t:.1f} times what its noise gives, over {len(bins)} spans of"
            f" {CHANGE_BIN} min",
        ],
        query=ask("request", subject, began, ["count", "p50_s", "p95_s"]),
        evidence=points(panel.end, before * np.exp(logs), [before] * CHANGE_SPAN),
        action="stackctl models ps",
        resolves="the step is undone, or eight hours old",
    )
    return t, finding
