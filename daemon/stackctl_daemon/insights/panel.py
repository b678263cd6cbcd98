"""Everything that the detectors look at; refuses to fetch it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from stackctl_daemon.insights.baseline import (
    RECENT_SKIP,
    TRAILING,
    Profile,
    expected,
    nanmedian,
    profile,
)
from stackctl_daemon.insights.grid import HOURS, MINUTES, FloatArray, Grid, Lines

MOST_SAMPLES = 4000
SAMPLE_MINUTES = 5
"""Metrics are kept no closer."""
LEAST_MINUTES, LEAST_HOURS = 60, 72
"""Of a daemon's running, before which nothing is usual: of the last hours, or of all."""
CELL = "name+model+device"
REST_MINUTES = 480
REST_HOURS = slice(HOURS - 7 * 24, HOURS)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value."""

    minute: int
    value: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class Rest:
    """Log latencies of a dimension's values beyond what is usual."""

    values: list[str]
    minutes: FloatArray
    """``(values, REST_MINUTES)``; not a number where nothing was asked."""
    spread: FloatArray
    """How much an hour differs from another."""
    usual: FloatArray
    """The log latency that is usual now."""


@dataclass(slots=True)
class Panel:
    """Grids of figures by view, and samples of jobs and metrics."""

    answers: Grid = field(
        default_factory=lambda: Grid(
            ("name", "model", "device", "uid"), ("count", "log_s", "max_s")
        )
    )
    """Requests that succeeded."""
    failures: Grid = field(default_factory=lambda: Grid(("name", "model", "error_code", "uid")))
    """Requests that failed."""
    inference: Grid = field(
        default_factory=lambda: Grid(("model", "device"), ("count", "log_s", "max_s"))
    )
    """Batches that ran."""
    queued: Grid = field(default_factory=lambda: Grid(("model", "device")))
    """Batches that had waited `stackctl_daemon.insights.reading.LONG_QUEUE_S` or more."""
    sources: Grid = field(default_factory=lambda: Grid(("kind", "name", "device", "outcome")))
    """Every event."""
    jobs: dict[tuple[str, ...], deque[Sample]] = field(default_factory=dict)
    """Durations of jobs by name."""
    metrics: dict[tuple[str, ...], deque[Sample]] = field(default_factory=dict)
    """Values of metrics by name, device and model."""
    end: int = 0
    """Minute since the epoch: everything before it is known."""
    ready: bool = False
    _profiles: dict[str, tuple[int, Profile]] = field(default_factory=dict)
    _rest: dict[str, tuple[int, Rest]] = field(default_factory=dict)
    _own: dict[str, tuple[tuple[int, int], FloatArray, FloatArray]] = field(default_factory=dict)
    _traffic: dict[str, tuple[tuple[int, int], Lines]] = field(default_factory=dict)
    _expected: dict[str, tuple[tuple[object, ...], FloatArray]] = field(default_factory=dict)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Every grid."""
        return (self.answers, self.failures, self.inference, self.queued, self.sources)

    def begin(self, end: int) -> None:
        """Set where knowledge ends, before there is any."""
        self.end = end
        for grid in self.grids:
            grid.begin(end)

    def advance(self, end: int) -> None:
        """Move on to a later minute."""
        for grid in self.grids:
            grid.advance(end)
        self.end = end

    def sample(self, into: str, key: tuple[str, ...], sample: Sample) -> None:
        """Keep a value; the oldest beyond `MOST_SAMPLES` goes."""
        kept = self.jobs if into == "jobs" else self.metrics
        series = kept.setdefault(key, deque(maxlen=MOST_SAMPLES))
        if into == "jobs" or not series or sample.minute - series[-1].minute >= SAMPLE_MINUTES:
            series.append(sample)

    def traffic(self, dim: str) -> Lines:
        """Give requests, successful or not, by a dimension that both grids have."""
        version = (self.answers.version, self.failures.version)
        found = self._traffic.get(dim)
        if found is None or found[0] != version:
            found = self._traffic[dim] = (version, self._joined(dim))
        return found[1]

    def expected(self, name: str, lines: Lines, *, log: bool = False) -> FloatArray:
        """Give what each minute of lines should have been, ``(values, MINUTES)``."""
        version = (self.end, *lines.values)
        found = self._expected.get(name)
        if found is None or found[0] != version:
            usual = self.profile(name, lines, log=log)
            found = self._expected[name] = (
                version,
                expected(usual, lines, self.end, self.alive()[0], log=log),
            )
        return found[1]

    def _joined(self, dim: str) -> Lines:
        good, bad = self.answers.lines(dim), self.failures.lines(dim)
        values = good.values if not dim else sorted({*good.values, *bad.values})
        minutes = np.zeros((len(values), MINUTES), np.float32)
        hours = np.zeros((len(values), HOURS), np.float32)
        for lines in (good, bad):
            rows = [values.index(value) for value in lines.values]
            minutes[rows] += lines.minutes
            hours[rows] += lines.hours
        return Lines(values, minutes, hours)

    def rest(self, dim: str) -> Rest:
        """Give log latencies beyond what is usual of each route, model and device.

        What a value always has beyond it, as a user with longer texts has, is taken off.
        """
        found = self._rest.get(dim)
        if found is not None and found[0] == self.answers.version:
            return found[1]
        lines = self.answers.latency(CELL)
        should = self.expected("latency", lines, log=True)[:, -REST_MINUTES:]
        minutes = self.answers.rest(dim, CELL, should, False)
        own, spread = self._own_rest(dim, lines)
        rest = Rest(
            self.answers.lines(dim).values,
            minutes - own[:, None],
            spread,
            self._usual(dim, should),
        )
        self._rest[dim] = (self.answers.version, rest)
        return rest

    def _own_rest(self, dim: str, lines: Lines) -> tuple[FloatArray, FloatArray]:
        stamp = (self.answers.end_hour, len(self.answers.keys))
        known = self._own.get(dim)
        if known is None or known[0] != stamp:
            usual = self.profile("latency", lines, log=True).centre[:, REST_HOURS]
            hours = self.answers.rest(dim, CELL, usual, True)
            own = np.nan_to_num(nanmedian(hours, 1))
            spread = np.nan_to_num(1.4826 * nanmedian(np.abs(hours - own[:, None]), 1), nan=0.1)
            known = self._own[dim] = (stamp, own, np.maximum(spread, 0.03).astype(np.float32))
        return known[1], known[2]

    def _usual(self, dim: str, should: FloatArray) -> FloatArray:
        """Give a value's usual log latency now: that of its cells, by what it asks for now."""
        recent = np.where(np.isnan(should[:, -1]), 0, should[:, -1])[:, None]
        counts = self.answers.minutes["count"][: len(self.answers.keys), -60:].sum(axis=1)
        return self.answers.mean(dim, CELL, recent, counts)

    def alive(self) -> tuple[FloatArray, FloatArray]:
        """Say of which minutes and hours there is any event: the daemon ran."""
        total = self.sources.lines("")
        heard = np.convolve(total.minutes[0] > 0, np.ones(11), "same") > 0
        return heard.astype(np.float32), (total.hours[0] > 0).astype(np.float32)

    @property
    def settled(self) -> bool:
        """The daemon has run for long enough that something may be called usual."""
        minutes, hours = self.alive()
        return bool(
            minutes[-TRAILING:-RECENT_SKIP].sum() >= LEAST_MINUTES or hours.sum() >= LEAST_HOURS
        )

    def profile(self, name: str, lines: Lines, *, log: bool = False) -> Profile:
        """Give the seasonal baseline of lines; computed once an hour, or as values come up."""
        stamp = self.answers.end_hour * 4096 + len(lines.values)
        found = self._profiles.get(name)
        if found is None or found[0] != stamp:
            heard = self.alive()[1]
            found = (stamp, profile(lines.hours, heard, self.answers.end_hour, log=log))
            self._profiles[name] = found
        return found[1]
