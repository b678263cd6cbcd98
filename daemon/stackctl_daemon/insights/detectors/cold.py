"""A model whose first answer after a rest is slow again and again: it is loaded each time."""

from __future__ import annotations

import math

import numpy as np

from stackctl_daemon.insights.finding import MINUTE_US, Finding, ask, seconds
from stackctl_daemon.insights.grid import FloatArray
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence

REST_MINUTES = 8
HOURS = 8
LEAST_STALLS = 3
LEAST_FACTOR = 5.0
LEAST_SECONDS = 0.5


def detect(panel: Panel) -> list[Finding]:
    """Give models with three slow starts or more of the last hours, and most starts slow."""
    found = []
    grid = panel.answers
    for model in grid.lines("model").values:
        rows = grid.members("model", model)
        counts = grid.minutes["count"][rows, -60 * HOURS :].sum(axis=0)
        slowest = grid.minutes["max_s"][rows, -60 * HOURS :].max(axis=0)
        usual = _usual(grid.hours["log_s"][rows], grid.hours["count"][rows])
        if not usual:
            continue
        starts = _starts(counts)
        least = max(LEAST_SECONDS, LEAST_FACTOR * usual)
        stalls = [at for at in starts if slowest[at] >= least]
        warm = [at for at in np.flatnonzero(counts) if at not in starts and slowest[at] >= least]
        chance = (len(warm) + 1) / (np.count_nonzero(counts) - len(starts) + 20)
        nats = len(stalls) * (math.log(len(stalls) / (chance * len(starts))) if stalls else 0)
        if len(stalls) < max(LEAST_STALLS, 0.6 * len(starts)) or nats < 4:
            continue
        first, last = panel.end - 60 * HOURS + stalls[0], panel.end - 60 * HOURS + stalls[-1]
        took = float(np.median([slowest[at] for at in stalls]))
        found.append(
            _finding(
                panel,
                model=model,
                stalls=stalls,
                starts=starts,
                took=took,
                usual=usual,
                first=first,
                last=last,
                nats=nats,
                slowest=slowest,
            )
        )
    return found


def _finding(
    panel: Panel,
    *,
    model: str,
    stalls: list[int],
    starts: list[int],
    took: float,
    usual: float,
    first: int,
    last: int,
    nats: float,
    slowest: FloatArray,
) -> Finding:
    return Finding(
        kind="cold-model",
        subject={"model": model},
        severity="info",
        title=f"model {model} is cold: {len(stalls)} first answers after a rest took"
        f" {seconds(took)}, {seconds(usual)} is usual",
        measure="max_s",
        before=usual,
        after=took,
        unit="s",
        began=first,
        confidence=confidence(nats),
        why=[
            f"{len(stalls)} of {len(starts)} first answers after {REST_MINUTES} min or"
            f" more of rest took {LEAST_FACTOR:.0f} times the usual or longer",
            f"the last began {panel.end - last} min ago",
        ],
        query=ask("request", {"model": model}, first, ["count", "p50_s", "max_s"]),
        evidence=[
            [
                (panel.end - 60 * HOURS + at) * MINUTE_US,
                round(float(slowest[at]), 6),
                round(usual, 6),
            ]
            for at in starts
        ],
        action=f"stackctl models load {model}",
        resolves=f"fewer than {LEAST_STALLS} slow first answers in {HOURS} h",
    )


def _starts(counts: FloatArray) -> list[int]:
    used = np.flatnonzero(counts)
    gaps = np.diff(used, prepend=used[0] if len(used) else 0)
    return [int(at) for at, gap in zip(used, gaps, strict=True) if gap > REST_MINUTES]


def _usual(logs: FloatArray, counts: FloatArray) -> float:
    known = ~np.isnan(logs) & (counts > 0)
    return float(np.exp(np.median(logs[known]))) if known.sum() >= 3 else 0.0
