"""Figures of groups by minute and by hour, in rings of fixed length; refuses to judge them.

A grid holds one row a group (a tuple of dimensions). Minutes reach back half a day, hours five
weeks; a whole hour is summed up from its minutes as it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Compute = Callable[[FloatArray, dict[str, FloatArray], slice], FloatArray]

MINUTES = 720
WEEKS = 5
HOURS = WEEKS * 168
LATE_MINUTES = 3
"""Minutes that are read again, because events come late; an hour is summed up after them."""
MOST_GROUPS = 1024
"""Groups beyond are counted together as ``(other)``."""
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Lines:
    """Series of the values of one dimension, ``(values, minutes)`` and ``(values, hours)``."""

    values: list[str]
    minutes: FloatArray
    hours: FloatArray

    def row(self, value: str) -> int:
        """Give a value's row; -1 when there is none."""
        return self.values.index(value) if value in self.values else -1


class Grid:
    """Counts, log latencies and greatest durations of groups.

    ``log_s`` is the logarithm of a median in seconds and not a number where nothing was counted.
    """

    def __init__(self, dims: Sequence[str], measures: Sequence[str] = ("count",)) -> None:
        self.dims = tuple(dims)
        self.measures = tuple(measures)
        self.keys: list[tuple[str, ...]] = []
        self.end = 0
        """Minute since the epoch at which the ring of minutes ends."""
        self.end_hour = 0
        self.minutes = {m: _empty(m, 16, MINUTES) for m in self.measures}
        self.hours = {m: _empty(m, 16, HOURS) for m in self.measures}
        self._rows: dict[tuple[str, ...], int] = {}
        self._members: dict[str, tuple[int, list[str], FloatArray]] = {}
        self._marginals: dict[tuple[str, str], tuple[tuple[int, int, int, int, int], Lines]] = {}
        self._beyond_known: dict[bool, tuple[object, tuple[FloatArray, FloatArray]]] = {}
        self._settled = 0
        """Minute before which `put` is not expected any more."""
        self._version = 0
        self._rewrites = 0
        """Times that a column was set that is older than what is computed again anyway."""

    @property
    def version(self) -> int:
        """Changes whenever a figure does."""
        return self._version

    def begin(self, end: int) -> None:
        """Set where both rings end, before anything is in them."""
        self.end = self._settled = end
        self.end_hour = (end - LATE_MINUTES) // 60

    def advance(self, end: int) -> None:
        """Move the rings on; hours that are whole are summed up."""
        for measure, ring in self.minutes.items():
            _shift(ring, end - self.end, _blank(measure))
        self._version += 1
        self._settled = self.end - LATE_MINUTES
        self.end = end
        while self.end_hour < (end - LATE_MINUTES) // 60:
            self._sum_up(self.end_hour)

    def clear(self, since: int) -> None:
        """Forget the minutes from ``since`` on: they are about to be put again."""
        self._version += 1
        for measure, ring in self.minutes.items():
            ring[:, max(0, MINUTES - (self.end - since)) :] = _blank(measure)

    def put(self, key: tuple[str, ...], minute: int, figures: Mapping[str, float]) -> None:
        """Set a group's figures of a minute; one outside of the ring is left out."""
        self._put(self.minutes, MINUTES - (self.end - minute), MINUTES, key, figures)
        self._version += 1
        self._rewrites += minute < self._settled

    def put_hour(self, key: tuple[str, ...], hour: int, figures: Mapping[str, float]) -> None:
        """Set a group's figures of an hour."""
        self._rewrites += 1
        self._put(self.hours, HOURS - (self.end_hour - hour), HOURS, key, figures)

    def lines(self, dim: str) -> Lines:
        """Give the counts of each value of a dimension; of everything for the empty one.

        The arrays are the grid's own: they are not to be written to, and change as it advances.
        """
        return self._marginal(dim, "count", self._summed)

    def latency(self, dim: str) -> Lines:
        """Give each value's mean log latency, weighted by count; owned as those of `lines`.

        Several dimensions are joined by ``+``.
        """
        return self._marginal(dim, "log_s", self._weighted)

    def rest(self, dim: str, whole: str, usual: FloatArray, measure_hours: bool) -> FloatArray:
        """Give each value's mean log latency beyond what is usual of its cells.

        Args:
            dim: the dimension of the values.
            whole: the dimensions, joined by ``+``, whose values ``usual`` has a row each of.
            usual: ``(values of whole, minutes or hours)``: what each cell of a value should take.
            measure_hours: of hours, not minutes; the last columns of the ring, as many as usual's.

        What a group asks for may change; each cell is held against its own, so that a change of
        the mixture is no change of latency.
        """
        weight, weighted = self._beyond(whole, usual, measure_hours)
        _, members = self._membership(dim)
        total = members @ weight
        mean = (members @ weighted) / np.maximum(total, 1e-9)
        return np.where(total > 0, mean, np.nan).astype(np.float32)

    def _beyond(
        self, whole: str, usual: FloatArray, measure_hours: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Give each cell's counts, and counts times what is beyond the usual."""
        # What is usual changes with the hour alone: the same version has the same.
        stamp = (self._version, self.end_hour, len(self.keys), whole, usual.shape)
        known_beyond = self._beyond_known.get(measure_hours)
        if known_beyond is not None and known_beyond[0] == stamp:
            return known_beyond[1]
        ring = self.hours if measure_hours else self.minutes
        columns = slice(ring["log_s"].shape[1] - usual.shape[1], None)
        _, of_whole = self._membership(whole)
        own = np.argmax(of_whole, axis=0)
        rest = ring["log_s"][: len(self.keys), columns] - usual[own]
        known = ~np.isnan(rest)
        weight = np.where(known, ring["count"][: len(self.keys), columns], 0)
        found = (weight, weight * np.where(known, rest, 0))
        self._beyond_known[measure_hours] = (stamp, found)
        return found

    def mean(self, dim: str, whole: str, figures: FloatArray, weight: FloatArray) -> FloatArray:
        """Give each value's weighted mean of its cells' figures, ``(values of whole, 1)``."""
        _, of_whole = self._membership(whole)
        _, members = self._membership(dim)
        own = figures[np.argmax(of_whole, axis=0), 0]
        found: FloatArray = (members @ (weight * own)) / np.maximum(members @ weight, 1e-9)
        return found

    def members(self, dim: str, value: str) -> list[int]:
        """Give the rows whose dimension has a value; every row for the empty dimension."""
        if not dim:
            return list(range(len(self.keys)))
        place = self.dims.index(dim)
        return [row for row, key in enumerate(self.keys) if key[place] == value]

    def _marginal(self, dim: str, measure: str, compute: Compute) -> Lines:
        """Give lines by dimension, computing only the columns that changed since the last time."""
        values, members = self._membership(dim)
        stamp = (len(self.keys), self._rewrites, self.end, self.end_hour, self._version)
        known = self._marginals.get((dim, measure))
        if known is not None and known[0] == stamp:
            return known[1]
        if known is None or known[0][:2] != stamp[:2]:
            lines = Lines(
                values,
                compute(members, self.minutes, slice(0, MINUTES)),
                compute(members, self.hours, slice(0, HOURS)),
            )
        else:
            old, lines = known[0], known[1]
            for ring, source, by, late in (
                (lines.minutes, self.minutes, self.end - old[2], LATE_MINUTES),
                (lines.hours, self.hours, self.end_hour - old[3], 0),
            ):
                length = ring.shape[1]
                fresh = min(length, by + late)
                if by:
                    _shift(ring, by, 0.0)
                if fresh:
                    part = slice(length - fresh, length)
                    ring[:, part] = compute(members, source, part)
        self._marginals[(dim, measure)] = (stamp, lines)
        return lines

    def _summed(self, members: FloatArray, ring: dict[str, FloatArray], part: slice) -> FloatArray:
        found: FloatArray = members @ ring["count"][: len(self.keys), part]
        return found

    def _weighted(
        self, members: FloatArray, ring: dict[str, FloatArray], part: slice
    ) -> FloatArray:
        count = len(self.keys)
        logs = ring["log_s"][:count, part]
        known = ~np.isnan(logs)
        weight = np.where(known, ring["count"][:count, part], 0)
        total = members @ weight
        summed = members @ (weight * np.where(known, logs, 0))
        return np.where(total > 0, summed / np.maximum(total, 1e-9), np.nan).astype(np.float32)

    def _membership(self, dim: str) -> tuple[list[str], FloatArray]:
        size, values, members = self._members.get(dim, (-1, [], np.zeros((0, 0), np.float32)))
        if size == len(self.keys):
            return values, members
        places = [self.dims.index(name) for name in dim.split("+")] if dim else []
        of_rows = ["+".join(key[place] for place in places) for key in self.keys]
        values = [""] if not dim else sorted({v for v in of_rows if v})
        number = {value: i for i, value in enumerate(values)}
        members = np.zeros((len(values), len(self.keys)), np.float32)
        for row, value in enumerate(of_rows):
            if value in number:
                members[number[value], row] = 1
        self._members[dim] = (len(self.keys), values, members)
        return values, members

    def _put(
        self,
        ring: dict[str, FloatArray],
        column: int,
        length: int,
        key: tuple[str, ...],
        figures: Mapping[str, float],
    ) -> None:
        if not 0 <= column < length:
            return
        row = self._row(key)
        for measure, value in figures.items():
            if self.keys[row][0] == OTHER and measure == "count":
                ring[measure][row, column] += value
            else:
                ring[measure][row, column] = value

    def _row(self, key: tuple[str, ...]) -> int:
        found = self._rows.get(key)
        if found is not None:
            return found
        if len(self.keys) >= MOST_GROUPS:
            key = (OTHER,) * len(self.dims)
            if key in self._rows:
                return self._rows[key]
        row = self._rows[key] = len(self.keys)
        self.keys.append(key)
        if row >= len(self.minutes["count"]):
            for rings, length in ((self.minutes, MINUTES), (self.hours, HOURS)):
                for measure, ring in rings.items():
                    rings[measure] = np.concatenate([ring, _empty(measure, row, length)])
        return row

    def _sum_up(self, hour: int) -> None:
        first = MINUTES - (self.end - hour * 60)
        last = first + 60
        part = slice(max(0, first), max(0, last))
        for measure, ring in self.hours.items():
            _shift(ring, 1, _blank(measure))
            minutes = self.minutes[measure][:, part]
            if measure == "count":
                ring[:, -1] = minutes.sum(axis=1)
            elif measure == "max_s":
                ring[:, -1] = minutes.max(axis=1, initial=0)
            else:
                known = ~np.isnan(minutes)
                weight = np.where(known, self.minutes["count"][:, part], 0)
                total = weight.sum(axis=1)
                summed = (weight * np.where(known, minutes, 0)).sum(axis=1)
                ring[:, -1] = np.where(total > 0, summed / np.maximum(total, 1e-9), np.nan)
        self.end_hour = hour + 1


def _blank(measure: str) -> float:
    return float("nan") if measure == "log_s" else 0.0


def _empty(measure: str, rows: int, length: int) -> FloatArray:
    return np.full((rows, length), _blank(measure), np.float32)


def _shift(ring: FloatArray, by: int, blank: float) -> None:
    if by <= 0:
        return
    if by < ring.shape[1]:
        ring[:, :-by] = ring[:, by:].copy()
    ring[:, -min(by, ring.shape[1]) :] = blank
