"""Everything that the detectors look at; refuses to fetch it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from stackctl_daemon.insights.baseline import Profile, expected, profile
from stackctl_daemon.insights.grid import HOURS, MINUTES, FloatArray, Grid, Lines

MOST_SAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value."""

    minute: int
    value: float
    id: str = ""


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
        kept.setdefault(key, deque(maxlen=MOST_SAMPLES)).append(sample)

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
            found = self._expected[name] = (version, expected(usual, lines, self.end, log=log))
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

    def alive(self) -> tuple[FloatArray, FloatArray]:
        """Say of which minutes and hours there is any event: the daemon ran."""
        total = self.sources.lines("")
        heard = np.convolve(total.minutes[0] > 0, np.ones(11), "same") > 0
        return heard.astype(np.float32), (total.hours[0] > 0).astype(np.float32)

    def profile(self, name: str, lines: Lines, *, log: bool = False) -> Profile:
        """Give the seasonal baseline of lines; computed once an hour, or as values come up."""
        stamp = self.answers.end_hour * 4096 + len(lines.values)
        found = self._profiles.get(name)
        if found is None or found[0] != stamp:
            heard = self.alive()[1]
            found = (stamp, profile(lines.hours, heard, self.answers.end_hour, log=log))
            self._profiles[name] = found
        return found[1]
