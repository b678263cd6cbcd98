"""How large batches may be for answers to come in time; refuses to form any.

Whoever comes waits for the batch under way and then for the one that it is in, so the time of a
batch is half of what a target leaves. A queue is another matter: what drains it is efficiency,
and larger batches are more efficient as long as what a batch costs by itself shows. So a missed
target shrinks batches where these are the cause, and lets them grow where the queue is and
growing still gains something.

What a batch takes is fitted as ``a + b * cost``, by medians, so that one batch which the machine
interrupted says nothing. Source: Theil 1950 and Sen 1968, weighted by the distance in cost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import inf
from statistics import median
from typing import NamedTuple

_KEPT = 9
"""Durations kept of batches of like cost: an odd number, so that the median is one of them."""
_HORIZON_S = 5.0
_MOST_SEEN = 512
_FEWEST_SEEN = 6
"""Answers under a budget before it is judged."""
_JUDGED_EVERY_S = 0.1
_TOLD_EVERY_S = 0.5
_ROOM = 0.8
"""Share of the target that the two batches may take: the rest is for what varies."""
_EASY = 0.6
"""Share of the target below which batches may grow again."""
_QUEUED = 2.0
"""Batches that one has waited for from which on the queue is the cause, not the batch."""
_GAIN = 1.02
"""By how much doubling a batch must raise throughput to be worth it."""
_CAP = 4
"""Times the budget that the device was calibrated to."""
_SMALLEST = 64
"""Part of that budget below which no batch budget goes."""

_NOTHING_S = 1e-9
"""A slope that is none."""


class Line(NamedTuple):
    """What a batch takes."""

    fixed_s: float
    per_cost_s: float

    def duration_s(self, cost: float) -> float:
        """Predict a batch."""
        return self.fixed_s + self.per_cost_s * cost

    def within(self, duration_s: float) -> float:
        """Give the cost that takes so long."""
        return max(0.0, duration_s - self.fixed_s) / self.per_cost_s

    def gain(self, cost: float) -> float:
        """Give the throughput of twice the cost over that of the cost."""
        return 2 * self.duration_s(cost) / self.duration_s(2 * cost)


class CostModel:
    """Learns what a batch takes by its padded cost."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[int, float]]] = {}
        """By the cost's power of two, so that many small batches leave the large ones in."""
        self._line: Line | None = None

    def add(self, cost: int, duration_s: float) -> None:
        """Note a batch."""
        if cost > 0 and duration_s > 0:
            self._seen.setdefault(cost.bit_length(), deque(maxlen=_KEPT)).append(
                (cost, duration_s)
            )
            self._line = None

    def line(self) -> Line | None:
        """Give the fit; None while nothing was seen."""
        if self._line is None and self._seen:
            self._line = _fit([_middle(seen) for seen in self._seen.values()])
        return self._line


class Paced(NamedTuple):
    """How a model keeps to its target."""

    budget: int
    p95_s: float
    """From arrival to answer, over the last seconds, of what could be in time."""


class _Served(NamedTuple):
    at: float
    service_s: float
    waited_s: float


class Pacer:
    """Adapts the batch budget of one model to a target of service time."""

    def __init__(
        self, target_s: float, full: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin.

        Args:
            target_s: what the 95th percentile from arrival to answer should stay under.
            full: the budget that is best for throughput, as calibrated or by the settings.
            clock: monotonic seconds.
        """
        self.target_s = target_s
        self.costs = CostModel()
        self.full = full
        self._budget = float(full)
        self._clock = clock
        self._interactive: deque[_Served] = deque(maxlen=_MOST_SEEN)
        self._bulk: deque[_Served] = deque(maxlen=_MOST_SEEN)
        self._batches: deque[float] = deque(maxlen=32)
        """Durations under the present budget."""
        self._since = clock()
        """When the present budget began."""
        self._judged_at = self._told_at = self._since
        self._told: Paced | None = None

    @property
    def budget(self) -> int:
        """The padded cost that a batch may have now."""
        return max(1, round(self._budget))

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest budget: from where half a batch is overhead to the cap."""
        line = self.costs.line()
        half = line.fixed_s / line.per_cost_s if line else 0.0
        low = max(1.0, self.full / _SMALLEST, half)
        return min(low, float(self.full)), float(self.full * _CAP)

    def calibrated(self, full: int, rows: Iterable[tuple[int, float]]) -> None:
        """Begin anew from what a calibration found: padded cost and duration of each batch."""
        for cost, duration_s in rows:
            self.costs.add(cost, duration_s)
        self.full = full or self.full
        self._set(float(self.full))

    def batch(self, cost: int, duration_s: float) -> None:
        """Note a batch that ran."""
        self.costs.add(cost, duration_s)
        self._batches.append(duration_s)

    def served(
        self, cost: int, service_s: float, waited_s: float, *, interactive: bool = True
    ) -> None:
        """Note an answer, and adapt.

        Args:
            cost: of the request's inputs.
            service_s: from its arrival to its answer.
            waited_s: from its arrival to its first batch.
            interactive: somebody waits for it. Answers of batch priority, which waits for the
                others by its nature, are judged by only where there are no others.
        """
        now, line = self._clock(), self.costs.line()
        if line and line.duration_s(cost) > self.target_s / 2:
            return  # by itself it takes too long, in whatever batches
        served = self._interactive if interactive else self._bulk
        served.append(_Served(now, service_s, waited_s))
        if now - self._judged_at >= _JUDGED_EVERY_S:
            self._judged_at = now
            self._judge()

    def news(self) -> Paced | None:
        """Give how it goes, now and then and when it has changed."""
        now = self._clock()
        if now - self._told_at < _TOLD_EVERY_S:
            return None
        self._told_at = now
        found = Paced(self.budget, round(self.p95_s(), 4))
        if found == self._told:
            return None
        self._told = found
        return found

    def p95_s(self) -> float:
        """Give the measured percentile over the last seconds; 0 where nothing was served."""
        oldest = self._clock() - _HORIZON_S
        return _p95([one.service_s for one in self._served if one.at >= oldest])

    @property
    def _served(self) -> deque[_Served]:
        """Answers to judge by."""
        latest = self._interactive[-1].at if self._interactive else -inf
        return self._interactive if latest >= self._clock() - _HORIZON_S else self._bulk

    def _judge(self) -> None:
        # Who came under another budget tells of that one.
        fresh = [one for one in self._served if one.at - one.service_s >= self._since]
        line = self.costs.line()
        # Two that missed by far need no third: batches which take seconds give few answers.
        enough = 2 if all(one.service_s > 2 * self.target_s for one in fresh) else _FEWEST_SEEN
        if len(fresh) < enough or line is None or not self._batches:
            return
        service_s = _p95([one.service_s for one in fresh])
        waited_s = _p95([one.waited_s for one in fresh])
        batch_s = _p95(list(self._batches))
        if service_s > self.target_s:
            queued = waited_s > _QUEUED * batch_s
            if queued and line.gain(self._budget) >= _GAIN:
                self._set(self._budget * 1.5)
            else:
                fitting = line.within(_ROOM * self.target_s / 2)
                self._set(min(self._budget * 0.75, max(fitting, self._budget / 4)))
        elif service_s < _EASY * self.target_s and self._budget < self.full:
            larger = min(self._budget * 1.25, self.full)
            if 2 * line.duration_s(larger) <= _ROOM * self.target_s:
                self._set(larger)

    def _set(self, budget: float) -> None:
        low, high = self.bounds
        budget = min(max(budget, low), high)
        if round(budget) != self.budget:
            self._since = self._clock()
            self._batches.clear()
        self._budget = budget


def _middle(seen: Iterable[tuple[int, float]]) -> tuple[float, float]:
    """Give the batch of the median rate, its cost and duration."""
    ranked = sorted(seen, key=lambda one: one[1] / one[0])
    return ranked[len(ranked) // 2]


def _fit(points: list[tuple[float, float]]) -> Line:
    """Give the line through what is typical of each size."""
    proportional = Line(0.0, median(d / c for c, d in points))
    slopes = sorted(
        ((d2 - d1) / (c2 - c1), c2 - c1) for c1, d1 in points for c2, d2 in points if c2 > c1
    )
    if not slopes:
        return proportional
    half = sum(weight for _, weight in slopes) / 2
    sums = accumulate(weight for _, weight in slopes)
    slope = next(one for (one, _), so_far in zip(slopes, sums, strict=True) if so_far >= half)
    if slope <= 0:  # what a batch costs by itself hides all else
        return Line(median(d for _, d in points), _NOTHING_S)
    fixed = median(d - slope * c for c, d in points)
    return Line(fixed, slope) if fixed >= 0 else proportional


def _p95(values: list[float]) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))] if ranked else 0.0
