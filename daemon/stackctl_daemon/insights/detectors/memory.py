"""Memory that only grows: a Theil-Sen trend of metrics named ``*memory*_bytes``.

Told when it rises steadily for hours and is beyond all that it was before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stackctl_daemon.insights.finding import MINUTE_US, Finding, ago, ask, named
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import Floats, confidence, trend

WINDOW = 300
LEAST_SPAN = 180
LEAST_TAU = 0.7
LEAST_GROWTH = 0.15
BEYOND = 1.1


def detect(panel: Panel) -> list[Finding]:
    """Give the processes or devices whose memory grows."""
    found = []
    for key, samples in panel.metrics.items():
        if "memory" not in key[0] or "free" in key[0] or not key[0].endswith("_bytes"):
            continue
        minutes = np.array([s.minute for s in samples], np.float64)
        values = np.array([s.value for s in samples])
        recent = minutes >= panel.end - WINDOW
        if recent.sum() < 30 or np.ptp(minutes[recent]) < LEAST_SPAN:
            continue
        slope, tau = trend(minutes[recent], values[recent])
        now = float(np.median(values[recent][-5:]))
        before = float(np.median(values[recent][:5]))
        highest = float(np.quantile(values[~recent], 0.99)) if (~recent).sum() else before
        past = _past_growth(minutes[~recent], values[~recent])
        if np.log(now / max(before, 1)) < 1.3 * past:
            continue
        if tau < LEAST_TAU or now < before * (1 + LEAST_GROWTH) or now < BEYOND * highest:
            continue
        name, device, model = key
        subject = {"name": name}
        subject |= ({"device": device} if device else {}) | ({"model": model} if model else {})
        start = int(minutes[recent][0])
        found.append(
            _finding(
                name=name,
                subject=subject,
                start=start,
                before=before,
                now=now,
                minutes=minutes,
                recent=recent,
                values=values,
                tau=tau,
                slope=slope,
                highest=highest,
            )
        )
    return found


def _finding(
    *,
    name: str,
    subject: dict[str, str],
    start: int,
    before: float,
    now: float,
    minutes: Floats,
    recent: NDArray[np.bool_],
    values: Floats,
    tau: float,
    slope: float,
    highest: float,
) -> Finding:
    return Finding(
        kind="memory-growth",
        subject=subject,
        severity="warning",
        title=f"{named(subject)} grew from {before / 1e6:.0f} to {now / 1e6:.0f} MB in"
        f" {ago(float(np.ptp(minutes[recent])))}",
        measure=name,
        before=before,
        after=now,
        unit="bytes",
        began=start,
        confidence=confidence(30 * (tau - LEAST_TAU)),
        why=[
            f"the median slope is {slope * 60 / 1e6:.1f} MB an hour and"
            f" {(1 + tau) / 2:.0%} of pairs of samples rise",
            f"it is {now / max(highest, 1):.2f} times the highest that was usual",
        ],
        query=ask("metric", subject, start, ["count"], group_by=["attributes.value"]),
        evidence=[
            [int(m) * MINUTE_US, float(v), before]
            for m, v in list(zip(minutes[recent], values[recent], strict=True))[::10]
        ],
        action="stackctl models ps",
        resolves="it stops growing, or falls to what it was",
    )


def _past_growth(minutes: Floats, values: Floats) -> float:
    """Give the greatest growth of as long a span before, as a logarithm."""
    if len(values) < 30:
        return 0.0
    smooth = np.convolve(np.log(np.maximum(values, 1)), np.ones(5) / 5, "valid")
    times = minutes[2:-2]
    later = np.searchsorted(times, times + LEAST_SPAN)
    inside = later < len(times)
    return float((smooth[later[inside]] - smooth[inside]).max(initial=0.0))
