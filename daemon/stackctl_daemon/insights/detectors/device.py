"""A device that ran its part of the batches and runs none, while others go on.

The chance of silence is that of a Poisson count of zero, ``exp(-expected)``, the expectation
being the device's recent share of what the others ran.
"""

from __future__ import annotations

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, points
from stackctl_daemon.insights.grid import FloatArray
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence

BEFORE = 180
LEAST_SHARE = 0.05
LEAST_EXPECTED = 16.0
LEAST_MINUTES = 6
FORGOTTEN_MINUTES = 360


def detect(panel: Panel) -> list[Finding]:
    """Give the devices that fell silent."""
    lines = panel.inference.lines("device")
    if len(lines.values) < 2:
        return []
    found = []
    total = lines.minutes.sum(axis=0)
    for row, device in enumerate(lines.values):
        counts = lines.minutes[row]
        used = np.flatnonzero(counts)
        if not len(used):
            continue
        last = int(used[-1])
        silent = len(counts) - 1 - last
        before = slice(max(0, last - BEFORE), last + 1)
        share = float(counts[before].sum()) / max(float(total[before].sum()), 1)
        others = float(total[last + 1 :].sum())
        wanted = others * share / max(1 - share, 0.05)
        if not LEAST_MINUTES <= silent <= FORGOTTEN_MINUTES:
            continue
        if share < LEAST_SHARE or wanted < LEAST_EXPECTED:
            continue
        began = panel.end - silent
        subject = {"device": device}
        found.append(
            _finding(
                panel,
                device=device,
                subject=subject,
                silent=silent,
                share=share,
                wanted=wanted,
                others=others,
                began=began,
                counts=counts,
                total=total,
            )
        )
    return found


def _finding(
    panel: Panel,
    *,
    device: str,
    subject: dict[str, str],
    silent: int,
    share: float,
    wanted: float,
    others: float,
    began: int,
    counts: FloatArray,
    total: FloatArray,
) -> Finding:
    return Finding(
        kind="device-lost",
        subject=subject,
        severity="critical",
        title=f"device {device} has run nothing for {ago(silent)}; it ran {share:.0%} of"
        " the batches before",
        measure="count",
        before=share,
        after=0.0,
        unit="",
        began=began,
        confidence=confidence(wanted - LEAST_EXPECTED),
        why=[
            f"{wanted:.0f} batches were to be expected since, none ran",
            f"other devices ran {others:.0f} in that time",
        ],
        query=ask("inference", subject, began, ["count", "errors"]),
        evidence=points(panel.end, counts[-180:], total[-180:] * share, per=total[-180:]),
        action="stackctl devices",
        resolves="it runs a batch again",
    )
