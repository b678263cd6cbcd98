"""A job that took far longer than others of its kind: a robust z value of the logarithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stackctl_daemon.insights.finding import Finding, ask, seconds
from stackctl_daemon.insights.panel import Panel, Sample
from stackctl_daemon.insights.statistics import Floats, confidence, robust

LEAST_JOBS = 12
RECENT_MINUTES = 60
LEAST_Z = 4.5
LEAST_FACTOR = 2.5
LEAST_SECONDS = 1.0


def detect(panel: Panel) -> list[Finding]:
    """Give the slowest job of each kind within the last hour, if it stands out."""
    found = []
    for (name,), samples in panel.jobs.items():
        values = np.log(np.array([max(s.value, 1e-3) for s in samples]))
        minutes = np.array([s.minute for s in samples])
        recent = np.flatnonzero(minutes >= panel.end - RECENT_MINUTES)
        past = values[minutes < panel.end - RECENT_MINUTES]
        if len(past) < LEAST_JOBS or not len(recent):
            continue
        centre, noise = robust(past)
        # A kind with a heavy tail has had such jobs before.
        tail = float(np.quantile(past, 0.995))
        at = int(recent[np.argmax(values[recent])])
        z = (float(values[at]) - centre) / max(noise, 0.15)
        took, usual = float(np.exp(values[at])), float(np.exp(centre))
        if (
            z < LEAST_Z
            or took < max(LEAST_SECONDS, LEAST_FACTOR * usual)
            or values[at] < tail + 0.25
        ):
            continue
        job = samples[at]
        began = job.minute - int(took / 60)
        subject = {"name": name}
        found.append(
            _finding(
                z=z,
                took=took,
                usual=usual,
                past=past,
                tail=tail,
                job=job,
                began=began,
                subject=subject,
                name=name,
                samples=samples,
            )
        )
    return found


def _finding(
    *,
    z: float,
    took: float,
    usual: float,
    past: Floats,
    tail: float,
    job: Sample,
    began: int,
    subject: dict[str, str],
    name: str,
    samples: Sequence[Sample],
) -> Finding:
    return Finding(
        kind="slow-job",
        subject=subject | ({"job_id": job.id} if job.id else {}),
        severity="info",
        title=f"job {name} took {seconds(took)}, {took / usual:.1f} times its usual"
        f" {seconds(usual)}",
        measure="max_s",
        before=usual,
        after=took,
        unit="s",
        began=began,
        confidence=confidence(4 * (z - LEAST_Z)),
        why=[
            f"{z:.1f} robust deviations above the median of {len(past)} jobs",
            f"one in two hundred took {seconds(float(np.exp(tail)))} or more",
        ],
        query=ask("job", subject, began, ["count", "p50_s", "max_s"]),
        evidence=[
            [s.minute * 60_000_000, round(s.value, 6), round(usual, 6)]
            for s in list(samples)[-30:]
        ],
        action=f"stackctl jobs show {job.id}" if job.id else "stackctl jobs list",
        resolves="an hour has passed without another",
    )
