"""A source that always spoke and fell silent: each of its last hours had events, now none come.

Requests and inference are left to the traffic's detectors: people may rest, programs do not.
"""

from __future__ import annotations

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, named, points
from stackctl_daemon.insights.grid import FloatArray
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence

HOURS = 12
LEAST_RATE = 0.1
"""Events a minute below which silence says nothing soon."""
LEAST_GAP = 4.0
"""Times the longest gap of the last hours."""
LEAST_MINUTES = 10
LEAST_EXPECTED = 12.0
FORGOTTEN_MINUTES = 480
PEOPLE = frozenset({"request", "inference", "audit", "user", "job"})


def detect(panel: Panel) -> list[Finding]:
    """Give the sources that stopped."""
    found = []
    heard = panel.sources.minutes["count"][: len(panel.sources.keys)].sum(axis=0)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for row, (kind, name, device, _) in enumerate(panel.sources.keys):
        if kind not in PEOPLE:
            groups.setdefault((kind, name, device), []).append(row)
    for (kind, name, device), rows in groups.items():
        counts = panel.sources.minutes["count"][rows].sum(axis=0)
        hours = panel.sources.hours["count"][rows].sum(axis=0)
        spoken = np.flatnonzero(counts)
        if len(spoken) < 20:
            continue
        last = int(spoken[-1])
        silent = len(counts) - 1 - last
        before = hours[-HOURS - FORGOTTEN_MINUTES // 60 :]
        gap = int(np.diff(spoken).max())
        rate = float(counts[spoken[0] : last + 1].sum()) / (last + 1 - int(spoken[0]))
        # Only what others said meanwhile shows that the daemon listened.
        listened = float((heard[last + 1 :] > 0).sum())
        if (
            rate < LEAST_RATE
            or silent > FORGOTTEN_MINUTES
            or listened < max(LEAST_MINUTES, LEAST_GAP * gap, LEAST_EXPECTED / max(rate, 1))
            or (before[:HOURS] > 0).sum() < HOURS * 0.9
        ):
            continue
        subject = {"kind": kind, "name": name} | ({"device": device} if device else {})
        began = panel.end - silent
        found.append(
            _finding(
                panel,
                kind=kind,
                subject=subject,
                silent=silent,
                gap=gap,
                rate=rate,
                listened=listened,
                began=began,
                counts=counts,
            )
        )
    return found


def _finding(
    panel: Panel,
    *,
    kind: str,
    subject: dict[str, str],
    silent: int,
    gap: int,
    rate: float,
    listened: float,
    began: int,
    counts: FloatArray,
) -> Finding:
    return Finding(
        kind="silent-source",
        subject=subject,
        severity="warning",
        title=f"{named(subject)} has been silent for {ago(silent)}; its longest gap"
        f" was {ago(gap)}",
        measure="count",
        before=rate / 60,
        after=0.0,
        unit="1/s",
        began=began,
        confidence=confidence(rate * listened),
        why=[
            f"{rate:.2g} events a minute before, none in {silent} min",
            f"others were heard in {listened:.0f} of these minutes",
        ],
        query=ask(kind, subject, began, ["count"]),
        evidence=points(panel.end, counts[-180:], [rate] * 180, per=60.0),
        action="stackctl logs",
        resolves="it speaks again",
    )
