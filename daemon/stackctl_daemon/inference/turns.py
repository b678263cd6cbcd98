"""Whose turn it is on a device: by priority, and then by model; refuses to look at a clock.

It is told what each turn took. Interactive work goes first, and while both wait, every second
that it has earns batch work its share: a deficit counter, as of deficit round robin (Shreedhar
and Varghese, SIGCOMM 1995), over measured seconds. Within a priority, models have the same time
(start-time fair queueing, as among the users of `batching`), and so have the steps of a model's
streams beside its batches: a model of long batches takes no more from one of short ones than its
part. Nothing is saved up by who does not wait, and no turn is held against anybody for longer
than `PATIENCE_S` of others' computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stackctl_daemon.inference.protocol import Priority

BATCH_SHARE = 0.1
PATIENCE_S = 10.0
"""Of interactive computing, after which batch work has a turn whatever it has had."""
_KEPT = 64
"""Lines remembered beyond those that wait, before all but these are forgotten."""


class Line(NamedTuple):
    """Whoever waits for the same: batches of a model, or steps of its streams."""

    priority: Priority
    key: str
    """Of the model."""
    streams: bool = False


class Turns:
    """Gives turns; after each it is told how long that was."""

    def __init__(self, batch_share: float = BATCH_SHARE) -> None:
        """Take the part of the time that batch work has beside interactive work: 0 to 0.9."""
        self._earned = batch_share / (1.0 - batch_share)
        """Seconds of batch work for one of interactive work."""
        self._owed_s = 0.0
        """To batch work; below 0, what it has had beyond its share."""
        self._passed_s = 0.0
        """Of interactive work since the last turn of batch work that waits."""
        self._contended = False
        self._interactive = _Lines()
        self._batch = _Lines()

    def choose(self, waiting: Mapping[Line, int]) -> Line | None:
        """Give the line whose turn it is; None: nobody waits.

        Args:
            waiting: lines, and when the first in each arrived, as a number that grows.
        """
        interactive = {line: n for line, n in waiting.items() if line.priority == "interactive"}
        batch = {line: n for line, n in waiting.items() if line.priority == "batch"}
        self._contended = bool(interactive and batch)
        if not batch:
            self._owed_s = min(self._owed_s, 0.0)
            self._passed_s = 0.0
            self._batch.rest()
        if not interactive:
            self._interactive.rest()
        if not waiting:
            self._owed_s = 0.0
            return None
        due = self._owed_s > 0 or self._passed_s >= PATIENCE_S
        if batch and (due or not interactive):
            return self._batch.choose(batch)
        return self._interactive.choose(interactive)

    def charge(self, line: Line, seconds: float) -> None:
        """Note what a turn took."""
        if line.priority == "interactive":
            self._interactive.charge(line, seconds)
            self._owed_s += seconds * self._earned
            if self._contended:
                self._passed_s += seconds
            else:
                self._owed_s = min(self._owed_s, 0.0)
            return
        self._batch.charge(line, seconds)
        self._passed_s = 0.0
        if self._contended:
            self._owed_s = max(self._owed_s - seconds, -PATIENCE_S * self._earned)


class _Lines:
    """Lines of one priority: the one that had the least, counted from when it came, is next."""

    def __init__(self) -> None:
        self._had: dict[Line, float] = {}
        self._level = 0.0
        """What whoever had the least has had: whoever comes anew begins there."""

    def choose(self, waiting: Mapping[Line, int]) -> Line:
        line = min(waiting, key=lambda it: (self._of(it), waiting[it]))
        self._level = self._of(line)
        if len(self._had) > len(waiting) + _KEPT:
            self._had = {it: had for it, had in self._had.items() if it in waiting}
        return line

    def charge(self, line: Line, seconds: float) -> None:
        self._had[line] = self._of(line) + min(seconds, PATIENCE_S)

    def rest(self) -> None:
        """Forget who had what: nobody waits who could have had more."""
        self._had.clear()
        self._level = 0.0

    def _of(self, line: Line) -> float:
        return max(self._had.get(line, 0.0), self._level)
