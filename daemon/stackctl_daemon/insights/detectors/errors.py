"""Errors that burst, and workers or containers that crash again and again.

Both compare a count with what the group's own history gives for as many requests, by the
Chernoff bound of a Poisson tail; the error code, model, route or user that most of the excess
belongs to, beyond its share of traffic, is the subject.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stackctl_daemon.insights.finding import Finding, ago, ask, named, points
from stackctl_daemon.insights.grid import MINUTES, FloatArray, Grid
from stackctl_daemon.insights.panel import Panel
from stackctl_daemon.insights.statistics import confidence, onset, surprise

WINDOWS = (5, 15, 45)
LEAST_NATS = 15.0
LEAST_ERRORS = 8
LEAST_RATE = 0.05
LEAST_MINUTES = 6
ELSEWHERE = frozenset({"overloaded", "worker_crashed", "device_lost"})
"""Codes that other detectors tell of."""
HISTORY = 14 * 24
CRASH_MINUTES = 30
LEAST_CRASHES = 3
CRASH_NATS = 6.0
CRASHING = frozenset({"container", "device"})


def detect_burst(panel: Panel) -> list[Finding]:
    """Give the error burst that goes on, if one does."""
    grid = panel.failures
    rows = [r for r, key in enumerate(grid.keys) if key[2] not in ELSEWHERE]
    if not rows:
        return []
    counts, history = _summed(grid, rows)
    if counts[-max(WINDOWS) :].sum() < LEAST_ERRORS:
        return []
    traffic = panel.traffic("")
    usual = _usual_rate(history, traffic.hours[0])
    best: tuple[float, int, dict[str, str]] = (0.0, 0, {})
    for minutes in WINDOWS:
        for subject, chosen in _suspects(panel, rows, minutes):
            errors, before = _summed(grid, chosen)
            of = _traffic_of(panel, subject)
            seen, sent = float(errors[-minutes:].sum()), float(of[0][-minutes:].sum())
            rate = _usual_rate(before, of[1])
            was = max(rate * sent, 0.3)
            # A script's few minutes of mistakes are no news.
            if np.count_nonzero(errors[-minutes:]) < min(LEAST_MINUTES, minutes):
                continue
            if seen < LEAST_ERRORS or seen < 3 * was or seen / max(sent, 1) < rate + 0.03:
                continue
            nats = surprise(seen, was, 0.4)
            if nats >= LEAST_NATS and nats > best[0] + 2:
                best = (nats, minutes, subject)
    if not best[1]:
        return []
    nats, minutes, _ = best
    found = _burst(panel, rows, nats=nats, minutes=minutes, usual=usual, counts=counts)
    return [found] if found.after >= LEAST_RATE else []


def _suspects(
    panel: Panel, rows: list[int], minutes: int
) -> Iterable[tuple[dict[str, str], list[int]]]:
    yield {}, rows
    grid = panel.failures
    recent = grid.minutes["count"][rows, -minutes:].sum(axis=1)
    for place, dim in enumerate(grid.dims):
        errors: dict[str, float] = {}
        for row, count in zip(rows, recent, strict=True):
            value = grid.keys[row][place]
            errors[value] = errors.get(value, 0.0) + float(count)
        for value, count in errors.items():
            if value and count >= LEAST_ERRORS:
                yield {dim: value}, [row for row in rows if grid.keys[row][place] == value]


def _burst(
    panel: Panel, rows: list[int], *, nats: float, minutes: int, usual: float, counts: FloatArray
) -> Finding:
    grid = panel.failures
    excess = grid.minutes["count"][rows, -minutes:].sum(axis=1) - grid.hours["count"][
        rows, -HISTORY:
    ].sum(axis=1) * (minutes / 60 / HISTORY)
    excess = np.maximum(excess, 0)
    subject = _blamed(panel, rows, excess, minutes)
    chosen = [
        row
        for row in rows
        if all(grid.keys[row][grid.dims.index(d)] == v for d, v in subject.items())
    ]
    errors, before = _summed(grid, chosen)
    of = _traffic_of(panel, subject)
    seen, sent = float(errors[-minutes:].sum()), float(of[0][-minutes:].sum())
    rate, was = seen / max(sent, seen, 1), _usual_rate(before, of[1])
    began = panel.end - 180 + onset(errors[-180:], seen / minutes / 2, up=True)
    code = subject.get("error_code", "")
    return Finding(
        kind="error-burst",
        subject=subject,
        severity="critical" if rate >= 0.25 else "warning",
        title=f"{rate:.0%} of requests fail{f' with {code}' if code else ''}"
        f" ({named({k: v for k, v in subject.items() if k != 'error_code'})}), {was:.2%} are"
        f" usual, for {ago(panel.end - began)}",
        measure="error_rate",
        before=was,
        after=rate,
        unit="",
        began=began,
        confidence=confidence(nats - LEAST_NATS),
        why=[
            f"{seen:.0f} of {sent:.0f} requests failed in {minutes} min, {was * sent:.1f} would"
            " be usual",
            f"{excess.sum():.0f} errors more than usual in all; {named(subject)} has"
            f" {100 * seen / max(float(counts[-minutes:].sum()), 1):.0f} % of them",
            f"before, {usual:.2%} of all requests failed",
        ],
        query=ask("request", subject, began, ["count", "errors"], group_by=["error_code"]),
        evidence=points(panel.end, errors[-180:], of[0][-180:] * was, per=of[0][-180:]),
        action="stackctl logs",
        resolves="errors of 15 min are within three times the usual",
    )


def _blamed(panel: Panel, rows: list[int], excess: FloatArray, minutes: int) -> dict[str, str]:
    grid, total = panel.failures, max(float(excess.sum()), 1e-9)
    subject: dict[str, str] = {}
    for dim, least in (("error_code", 0.6), ("uid", 0.75), ("model", 0.7), ("name", 0.7)):
        place = grid.dims.index(dim)
        shares: dict[str, float] = {}
        for row, more in zip(rows, excess, strict=True):
            value = grid.keys[row][place]
            shares[value] = shares.get(value, 0.0) + float(more) / total
        value, share = max(shares.items(), key=lambda item: item[1])
        if share < least or not value:
            continue
        if dim == "error_code":
            subject[dim] = value
            continue
        lines = panel.traffic(dim)
        sent = lines.minutes[:, -minutes:].sum(axis=1)
        of = float(sent[lines.row(value)]) / max(float(sent.sum()), 1)
        if share - of >= 0.25:
            subject[dim] = value
            if dim == "uid":
                return subject
    return subject


def detect_crash_loop(panel: Panel) -> list[Finding]:
    """Give containers, devices and models whose workers crash again and again."""
    found = []
    for kind, subject, grid, rows in _crashers(panel):
        counts, history = _summed(grid, rows)
        seen = float(counts[-CRASH_MINUTES:].sum())
        was = float(history[-HISTORY:].mean()) * CRASH_MINUTES / 60
        nats = surprise(seen, max(was, 0.05), 0.3)
        if seen < max(LEAST_CRASHES, 3 * was) or nats < CRASH_NATS:
            continue
        last = int(np.flatnonzero(counts)[-1])
        began = panel.end - 180 + onset(counts[-180:], seen / CRASH_MINUTES / 2, up=True)
        found.append(
            Finding(
                kind="crash-loop",
                subject=subject,
                severity="critical",
                title=f"{named(subject)} crashed {seen:.0f} times in {CRASH_MINUTES} min, last"
                f" {ago(MINUTES - last)} ago",
                measure="errors",
                before=was,
                after=seen,
                unit="",
                began=began,
                confidence=confidence(nats - CRASH_NATS),
                why=[
                    f"{seen:.0f} crashes in {CRASH_MINUTES} min; {was:.2f} are usual",
                ],
                query=ask(kind, subject, began, ["count", "errors"], group_by=["error_code"]),
                evidence=points(panel.end, list(counts[-180:]), [was / CRASH_MINUTES] * 180),
                action="stackctl doctor",
                resolves=f"fewer than {LEAST_CRASHES} crashes in {CRASH_MINUTES} min",
            )
        )
    return found


def _crashers(panel: Panel) -> Iterable[tuple[str, dict[str, str], Grid, list[int]]]:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for row, (kind, name, device, outcome) in enumerate(panel.sources.keys):
        if kind in CRASHING and outcome == "error":
            groups.setdefault((kind, name, device), []).append(row)
    for (kind, name, device), rows in groups.items():
        subject = {"name": name} | ({"device": device} if device else {})
        yield kind, subject, panel.sources, rows
    models: dict[str, list[int]] = {}
    for row, (_, model, code, _uid) in enumerate(panel.failures.keys):
        if code == "worker_crashed":
            models.setdefault(model, []).append(row)
    for model, rows in models.items():
        yield "request", {"model": model} if model else {}, panel.failures, rows


def _summed(grid: Grid, rows: list[int]) -> tuple[FloatArray, FloatArray]:
    return (
        grid.minutes["count"][rows].sum(axis=0),
        grid.hours["count"][rows].sum(axis=0),
    )


def _traffic_of(panel: Panel, subject: dict[str, str]) -> tuple[FloatArray, FloatArray]:
    """Give requests, by minute and hour, of a subject's model, route and user."""
    minutes, hours = np.zeros(MINUTES, np.float32), np.zeros(1, np.float32)
    for grid in (panel.answers, panel.failures):
        rows = [
            row
            for row, key in enumerate(grid.keys)
            if all(key[grid.dims.index(d)] == v for d, v in subject.items() if d != "error_code")
        ]
        minutes = minutes + grid.minutes["count"][rows].sum(axis=0)
        hours = hours + grid.hours["count"][rows].sum(axis=0)
    return minutes, hours


def _usual_rate(errors: FloatArray, sent: FloatArray) -> float:
    """Give the part of requests that fail, the worst twentieth of hours left out."""
    errors, sent = errors[-HISTORY:], sent[-HISTORY:]
    used = sent > 0
    if not used.any():
        return 0.005
    errors, sent = errors[used], sent[used]
    kept = np.argsort(errors / np.maximum(sent, 5))[: max(1, int(0.95 * len(errors)))]
    return float((errors[kept].sum() + 0.5) / (sent[kept].sum() + 100))
