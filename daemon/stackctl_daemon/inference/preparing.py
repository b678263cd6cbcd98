"""Inputs made ready beside the thread that reads commands; refuses to compute with them.

Sounds and pictures take a while to decode, longer than anybody's short request may wait. One
thread does it in slices of time: which model's is next, `Turns` says, as of batches, and the
requests of one model have theirs in turn, so that a short one is never behind a long one. All
here runs in the thread that reads commands, but for the slices themselves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from stackctl.errors import Failed, TimedOut
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Unit
from stackctl_daemon.inference.crew import Crew
from stackctl_daemon.inference.turns import Line, Turn, Turns
from stackctl_daemon.inference.worker_state import Pending

_SLICE_S = 0.02
"""Beside a batch's milliseconds little, beside the 0.1 ms that a hand-over takes much."""
_ROUND, _ROUND_S = 32, 0.1
"""Requests that are handed over together, and for how long: pictures of many, a few milliseconds
each, are ready for one batch, and whoever comes anew waits no longer."""
TICK_S = 1.0
"""How often the one who waits for a slice looks after it."""
_STUCK_S = 60.0
"""Of a step that does not end; those of sound take a millisecond, a picture's one or two s."""


@dataclass(slots=True, eq=False)
class _Job:
    """A request whose inputs are made ready."""

    request: Pending
    steps: Iterator[Unit | None]
    line: Line
    number: int
    units: list[Unit] = field(default_factory=list)
    turn: Turn | None = None
    """That it has, to be told how long it was."""


class _Slice(NamedTuple):
    """How far a job came."""

    ended: bool
    error: Exception | None
    took_s: float


class Preparing:
    """What waits to be made ready, and who is at it; bounded by what the daemon admits."""

    def __init__(
        self,
        *,
        alive: Callable[[Pending], bool],
        ready: Callable[[Pending, list[Unit]], None],
        give_up: Callable[[Pending, Exception], None],
        send: Callable[[wire.Report], None],
        batch_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take who is told what.

        Args:
            alive: tells whether a request is waited for.
            ready: gets a request's units, one an input.
            give_up: gets what is wrong with a request that is waited for.
            send: sends signs of life.
            batch_share: see `Turns`.
            clock: seconds.
        """
        self._alive, self._ready, self._give_up, self._send = alive, ready, give_up, send
        self._turns = Turns(batch_share)
        self._clock = clock
        self._crew: Crew[None, _Slice] = Crew("prepare")
        self._waiting: dict[Line, deque[_Job]] = {}
        self._running: deque[_Job] = deque()
        self._number = 0
        self._looked = 0.0
        self._silent_s = 0.0

    @property
    def busy(self) -> bool:
        """Something is being made ready, or waits for it."""
        return bool(self._waiting or self._crew.busy)

    def fileno(self) -> int:
        """Give the descriptor that can be read once a slice has ended."""
        return self._crew.fileno()

    def add(self, request: Pending, steps: Iterator[Unit | None]) -> None:
        """Have a request's inputs made ready."""
        self._number += 1
        request.model.preparing += 1
        line = Line(request.command.priority, request.command.key)
        job = _Job(request, steps, line, self._number)
        self._waiting.setdefault(line, deque()).append(job)
        self._crew.resize(1)

    def forget(self, request: Pending) -> None:
        """Drop a request; one that is at it now ends with its slice."""
        for line, jobs in list(self._waiting.items()):
            for job in [job for job in jobs if job.request is request]:
                jobs.remove(job)
                request.model.preparing -= 1
            if not jobs:
                del self._waiting[line]

    def turn(self) -> None:
        """Take what was done, and have the next slice begin.

        Raises:
            Failed: a step does not end, and takes the thread with it; its request is refused.
        """
        if not self.busy:
            return
        for _, done in self._crew.take():
            if done:
                self._settle(self._running.popleft(), done)
            else:
                self._put_back()
        if self._crew.free and self._waiting:
            self._begin()
        self._look()

    def close(self) -> None:
        """End the thread after its slice."""
        self._crew.close()

    def _settle(self, job: _Job, done: _Slice) -> None:
        self._silent_s = 0.0
        self._charge(job, done.took_s)
        if self._alive(job.request) and not done.ended and not done.error:
            self._waiting.setdefault(job.line, deque()).append(job)
            self._send(wire.Preparing(job.line.key))
            return
        job.request.model.preparing -= 1
        if done.error:
            self._give_up(job.request, done.error)
        elif self._alive(job.request):
            self._ready(job.request, job.units)

    def _begin(self) -> None:
        """Have a round begin, without those whose time is over."""
        while self._waiting and len(self._running) < _ROUND:
            if job := self._next():
                self._running.append(job)
        if self._running:
            self._looked, self._silent_s = self._clock(), 0.0
            self._crew.put(None, _round(list(self._running), self._alive))

    def _put_back(self) -> None:
        """Have those that a round had no time for be the first again."""
        while self._running:
            job = self._running.pop()
            self._charge(job, 0.0)
            if self._alive(job.request):
                self._waiting.setdefault(job.line, deque()).appendleft(job)
            else:
                job.request.model.preparing -= 1

    def _next(self) -> _Job | None:
        turn = self._turns.choose({it: jobs[0].number for it, jobs in self._waiting.items()})
        assert turn  # noqa: S101 - somebody waits
        line = turn.line
        job = self._waiting[line].popleft()
        if not self._waiting[line]:
            del self._waiting[line]
        job.turn = turn
        request, now = job.request, self._clock()
        deadline = request.command.deadline
        if deadline and now > deadline:
            self._charge(job, 0.0)
            request.model.preparing -= 1
            name, waited_s = request.model.load.name, now - request.arrived
            self._give_up(
                request, TimedOut(f"{name}: not begun {waited_s:.1f} s after it arrived")
            )
            return None
        return job

    def _charge(self, job: _Job, seconds: float) -> None:
        if job.turn:
            self._turns.charge(job.turn, seconds)
            job.turn = None

    def _look(self) -> None:
        """See whether a step ends. A process that was stopped meanwhile is not blamed for it."""
        if not self._running:
            return
        now = self._clock()
        self._silent_s += min(now - self._looked, TICK_S)
        self._looked = now
        if self._silent_s > _STUCK_S:
            job = self._running[0]
            request = job.request
            stuck = Failed(
                f"{request.model.load.name}: reading input {len(job.units)} does not"
                f" end, given up after {self._silent_s:.0f} s"
            )
            self._give_up(request, stuck)
            raise stuck


def _round(jobs: list[_Job], alive: Callable[[Pending], bool]) -> Iterator[_Slice]:
    """Give each that is still waited for its slice, in order, as long as there is time."""
    end = time.monotonic() + _ROUND_S
    for job in jobs:
        if time.monotonic() >= end:
            return
        yield _slice(job.steps, job.units) if alive(job.request) else _Slice(False, None, 0.0)


def _slice(steps: Iterator[Unit | None], units: list[Unit]) -> _Slice:
    start, error = time.monotonic(), None
    ended = False
    try:
        while time.monotonic() - start < _SLICE_S:
            unit = next(steps)
            if unit is not None:
                units.append(unit)
    except StopIteration:
        ended = True
    except Exception as err:  # an adapter meets any bytes; its libraries raise anything
        error = err
    return _Slice(ended, error, time.monotonic() - start)
