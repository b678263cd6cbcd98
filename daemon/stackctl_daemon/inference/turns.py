"""Whose turn it is on a device: by priority, and then by model; refuses to look at a clock.

It is told what each turn took. Interactive work goes first, and while both wait, every second
that it has earns batch work its share: a deficit counter, as of deficit round robin (Shreedhar
and Varghese, SIGCOMM 1995), over measured seconds. Within a priority, models have the same time
(start-time fair queueing, as among the users of `batching`), and so have the steps of a model's
streams beside its batches: a model of long batches takes no more from one of short ones than its
part. Nothing is saved up by who does not wait, and no turn is held against anybody for longer
than `PATIENCE_S` of others' computing.

Several turns may run at once, and of those who wait only some may have one: their model has as
many batches under way as it may. All who wait are accounted for, but only turns that both
priorities could have had are earned by and paid for: what nobody else could use is free. A turn
under way counts as its line's last one took (depth as in SFQ(D): Jin, Chase and Kaur,
SIGMETRICS 2004). Which lines meet when a turn is free may repeat itself, so each has a turn after
some `PATIENCE_S` that went to the other priority in its stead, whatever the others had.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from math import inf
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


class Turn(NamedTuple):
    """What `Turns.choose` gave, to be told to `Turns.charge` once it is over."""

    line: Line
    rival: bool
    """The other priority waited."""
    instead: tuple[Line, ...]
    """Lines of the other priority that could have had it."""
    expected_s: float
    """As long as the last one of its line; infinite: there was none."""


class Turns:
    """Gives turns; after each it is told how long that was."""

    def __init__(self, batch_share: float = BATCH_SHARE) -> None:
        """Take the part of the time that batch work has beside interactive work: 0 to 0.9."""
        self._earned = batch_share / (1.0 - batch_share)
        """Seconds of batch work for one of interactive work."""
        self._owed_s = 0.0
        """To batch work; below 0, what it has had beyond its share."""
        self._passed_s = 0.0
        """Of interactive turns that batch work could have had, since the last one that it had."""
        self._passed: dict[Line, float] = {}
        """Seconds of the other priority that each line which waits could have had, since its last
        turn."""
        self._paying: list[Turn] = []
        """Turns of batch work under way that it pays for."""
        self._lines = {"interactive": _Lines(), "batch": _Lines()}

    def choose(
        self, waiting: Mapping[Line, int], eligible: Container[Line] | None = None
    ) -> Turn | None:
        """Begin the turn of the line that is next; None: nobody who waits may have one.

        Args:
            waiting: lines, and when the first in each arrived, as a number that grows.
            eligible: those of them that may have a turn now; None: all.
        """
        interactive = {line: n for line, n in waiting.items() if line.priority == "interactive"}
        batch = {line: n for line, n in waiting.items() if line.priority == "batch"}
        self._settle(interactive, batch)
        could = {it: n for it, n in interactive.items() if eligible is None or it in eligible}
        may = {it: n for it, n in batch.items() if eligible is None or it in eligible}
        if not could and not may:
            return None
        longest_s = self._lines["interactive"].longest_s
        late = self._late(may, len(batch) * PATIENCE_S)
        if not late and may:
            bound_s = len(interactive) * (PATIENCE_S + longest_s * self._earned)
            late = self._late(could, bound_s)
        goes_batch = late.priority == "batch" if late else bool(may) and self._due
        if may and (goes_batch or not could):
            return self._begin(late, may, rival=bool(interactive), instead=tuple(could))
        return self._begin(late, could, rival=bool(batch), instead=tuple(may))

    def charge(self, turn: Turn, seconds: float) -> None:
        """Note that a turn is over, and what it took."""
        self._lines[turn.line.priority].charge(turn, seconds)
        for line in turn.instead:
            if line in self._passed:
                self._passed[line] += seconds
        if turn.line.priority == "batch":
            if turn.instead:
                self._paying.remove(turn)
                self._owed_s = max(self._owed_s - seconds, -PATIENCE_S * self._earned)
        elif turn.instead:
            self._owed_s += seconds * self._earned
            self._passed_s += seconds
        elif not turn.rival:
            self._owed_s = max(self._owed_s, min(self._owed_s + seconds * self._earned, 0.0))

    @property
    def _due(self) -> bool:
        """Batch work is next where both priorities could be."""
        under_way_s = sum(turn.expected_s for turn in self._paying)
        return self._owed_s > under_way_s or self._passed_s >= PATIENCE_S

    def _settle(self, interactive: Mapping[Line, int], batch: Mapping[Line, int]) -> None:
        """Have a priority of which nobody waits begin anew."""
        if not batch:
            self._owed_s = min(self._owed_s, 0.0)
            self._passed_s = 0.0
            self._lines["batch"].rest()
        if not interactive:
            self._lines["interactive"].rest()
        if not batch and not interactive:
            self._owed_s = 0.0
        self._passed = {it: self._passed.get(it, 0.0) for it in (*interactive, *batch)}

    def _late(self, may: Mapping[Line, int], bound_s: float) -> Line | None:
        """Give the line that others went before for the longest, where that is too long."""
        late = max(may, key=lambda it: self._passed[it], default=None)
        return late if late and self._passed[late] >= bound_s else None

    def _begin(
        self,
        late: Line | None,
        may: Mapping[Line, int],
        *,
        rival: bool,
        instead: tuple[Line, ...],
    ) -> Turn:
        lines = self._lines[next(iter(may)).priority]
        line = late if late and late in may else lines.choose(may)
        turn = Turn(line, rival, instead, lines.begin(line))
        self._passed[line] = 0.0
        if line.priority == "batch" and instead:
            self._passed_s = 0.0
            self._paying.append(turn)
        return turn


class _Lines:
    """Lines of one priority: the one that had the least, counted from when it came, is next."""

    def __init__(self) -> None:
        self._had: dict[Line, float] = {}
        """With what is expected of turns under way."""
        self._took: dict[Line, float] = {}
        """By each line's last turn."""
        self._began: dict[Line, int] = {}
        """Number of each line's last turn: of those behind what others had, all alike, the one
        whose turn is longest ago is next."""
        self._turns = 0
        self._level = 0.0
        """What whoever had the least has had: whoever comes anew begins there."""

    @property
    def longest_s(self) -> float:
        """Give the longest of the lines' last turns."""
        return max(self._took.values(), default=0.0)

    def choose(self, may: Mapping[Line, int]) -> Line:
        """Give the line that is next of those that may be."""
        line = min(may, key=lambda it: (self._of(it), self._began.get(it, 0), may[it]))
        self._level = self._of(line)
        if len(self._took) > len(may) + _KEPT:
            self._had = {it: had for it, had in self._had.items() if had > self._level}
            self._took = {it: took for it, took in self._took.items() if it in may}
            self._began = {it: number for it, number in self._began.items() if it in may}
        return line

    def begin(self, line: Line) -> float:
        """Count a turn as what it should take, and give that."""
        expected_s = self._took.get(line, inf)
        self._had[line] = self._of(line) + _counted(expected_s)
        self._turns += 1
        self._began[line] = self._turns
        return expected_s

    def charge(self, turn: Turn, seconds: float) -> None:
        """Correct what was expected."""
        self._took[turn.line] = seconds
        more_s = min(seconds, PATIENCE_S) - _counted(turn.expected_s)
        self._had[turn.line] = self._of(turn.line) + more_s

    def rest(self) -> None:
        """Forget who had what: nobody waits who could have had more."""
        self._had.clear()
        self._level = 0.0

    def _of(self, line: Line) -> float:
        return max(self._had.get(line, 0.0), self._level)


def _counted(expected_s: float) -> float:
    """Give what a turn counts for while it is under way: nothing, where nothing is known."""
    return min(expected_s, PATIENCE_S) if expected_s < inf else 0.0
