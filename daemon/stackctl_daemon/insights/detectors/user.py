"""One user who takes far more than before: a quasi-Poisson test of each uid's own history."""

from __future__ import annotations

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, points
from stackctl_daemon.insights.grid import FloatArray
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence, onset, surprise

WINDOWS = (10, 30, 60)
LEAST_NATS = 14.0
LEAST_SHARE = 0.35
LEAST_FACTOR = 3.0
LEAST_REQUESTS = 40.0
LEAST_MINUTES = 10
HISTORY = 21 * 24


def detect(panel: Panel) -> list[Finding]:
    """Give users whose share of requests rose far beyond what they ever had."""
    users, total = panel.traffic("uid"), panel.traffic("")
    if len(users.values) < 2 or not panel.settled:
        return []
    should = panel.expected("traffic.uid", users)
    # The three busiest hours are left out: an incident of the past must not hide the next.
    busiest = np.sort(users.hours[:, -HISTORY:], axis=1)[:, -4]
    found = []
    for row, uid in enumerate(users.values):
        best = (0.0, 0, 0.0, 0.0, 0.0)
        for minutes in WINDOWS:
            seen = float(users.minutes[row, -minutes:].sum())
            share = seen / max(float(total.minutes[0, -minutes:].sum()), 1)
            was = max(float(should[row, -minutes:].sum()), 1.0)
            # Bursts are shorter than an hour: the busiest may have come within half of one.
            peak = float(busiest[row]) * min(1.0, minutes / 30)
            if seen < max(LEAST_REQUESTS, LEAST_FACTOR * was, 1.5 * peak) or share < LEAST_SHARE:
                continue
            # A script's few minutes are no news.
            if np.count_nonzero(users.minutes[row, -LEAST_MINUTES:]) < LEAST_MINUTES * 0.8:
                continue
            nats = surprise(seen, max(was, peak), 0.2)
            best = max(best, (nats, minutes, seen, was, share))
        if best[0] >= LEAST_NATS:
            found.append(_finding(panel, uid, users.minutes[row], should[row], best))
    return found


def _finding(
    panel: Panel,
    uid: str,
    counts: FloatArray,
    should: FloatArray,
    best: tuple[float, int, float, float, float],
) -> Finding:
    nats, minutes, seen, was, share = best
    began = panel.end - 180 + onset(counts[-180:], (seen + was) / minutes / 2, up=True)
    subject = {"uid": uid}
    return Finding(
        kind="noisy-user",
        subject=subject,
        severity="warning",
        title=f"uid {uid} sends {share:.0%} of all requests, {seen / was:.1f} times its usual,"
        f" for {ago(panel.end - began)}",
        measure="rate_per_s",
        before=was / minutes / 60,
        after=seen / minutes / 60,
        unit="1/s",
        began=began,
        confidence=confidence(nats - LEAST_NATS),
        why=[
            f"{seen:.0f} requests of uid {uid} in {minutes} min, {was:.0f} are usual",
            f"that is {share:.0%} of all requests in that time",
        ],
        query=ask("request", subject, began, ["count", "errors", "p95_s"], group_by=["name"]),
        evidence=points(panel.end, counts[-180:], should[-180:], per=60.0),
        action="stackctl devices",
        resolves=f"its share is below {LEAST_SHARE:.0%} or its rate below {LEAST_FACTOR:.0f} times"
        " its usual",
    )
