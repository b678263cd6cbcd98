"""When a disk will be full: a Theil-Sen trend of the metric ``disk.free_bytes``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stackctl_daemon.insights.finding import MINUTE_US, Finding, ago, ask
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import Floats, confidence, trend

METRIC = "disk.free_bytes"
WINDOW = 360
LEAST_SPAN = 120
LEAST_TAU = 0.75
AHEAD_MINUTES = 3 * 1440
"""Told when it would be full within three days."""
CRITICAL_MINUTES = 720


def detect(panel: Panel) -> list[Finding]:
    """Give the disks that fill up, faster than they have before."""
    found = []
    for key, samples in panel.metrics.items():
        if key[0] != METRIC:
            continue
        minutes = np.array([s.minute for s in samples], np.float64)
        values = np.array([s.value for s in samples])
        recent = minutes >= panel.end - WINDOW
        if recent.sum() < 20 or np.ptp(minutes[recent]) < LEAST_SPAN:
            continue
        slope, tau = trend(minutes[recent], values[recent])
        free = float(np.median(values[recent][-5:]))
        if slope >= 0 or -tau < LEAST_TAU:
            continue
        left = free / -slope
        # What fills and is cleared day by day is no forecast: it must be below what it ever was.
        lowest = float(values[~recent].min(initial=np.inf))
        if left > AHEAD_MINUTES or free > lowest:
            continue
        device = key[1]
        subject = {"name": METRIC} | ({"device": device} if device else {})
        start = int(minutes[recent][0])
        found.append(
            _finding(
                panel,
                device=device,
                subject=subject,
                left=left,
                free=free,
                slope=slope,
                tau=tau,
                values=values,
                minutes=minutes,
                recent=recent,
                start=start,
            )
        )
    return found


def _finding(
    panel: Panel,
    *,
    device: str,
    subject: dict[str, str],
    left: float,
    free: float,
    slope: float,
    tau: float,
    values: Floats,
    minutes: Floats,
    recent: NDArray[np.bool_],
    start: int,
) -> Finding:
    return Finding(
        kind="disk-forecast",
        subject=subject,
        severity="critical" if left <= CRITICAL_MINUTES else "warning",
        title=f"disk {device or 'of the data'} will be full in {ago(left)}:"
        f" {free / 1e9:.1f} GB free, {-slope * 60 / 1e9:.2g} GB less an hour",
        measure=METRIC,
        before=float(np.median(values[recent][:5])),
        after=free,
        unit="bytes",
        began=start,
        confidence=confidence(30 * (-tau - LEAST_TAU)),
        why=[
            f"the median slope of {ago(float(np.ptp(minutes[recent])))} is"
            f" {slope * 60 / 1e6:.0f} MB an hour",
            f"{(1 - tau) / 2:.0%} of pairs of samples fall",
        ],
        query=ask("metric", subject, start, ["count"], group_by=["attributes.value"]),
        evidence=[
            [int(m) * MINUTE_US, float(v), float(free - slope * (panel.end - m))]
            for m, v in list(zip(minutes[recent], values[recent], strict=True))[::12]
        ],
        action="df -h" if device else "stackctl doctor",
        resolves="it no longer falls, or would last for three days",
    )
