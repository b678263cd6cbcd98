"""Several batches at once: which model's is next; refuses to form batches or to send answers.

Everything here runs in the thread that reads commands, but for the jobs themselves. A step of a
stream is a job like a batch: streams of one model run side by side, and a long step keeps
nobody's command waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.computing import Ran, Stepped, step
from stackctl_daemon.inference.crew import Crew, Readable, wait
from stackctl_daemon.inference.preparing import TICK_S, Preparing
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.turns import Turn, Turns
from stackctl_daemon.inference.worker_state import Model, waiting

_REST_S = 0.5
"""Without work before memory is given back: taking it again costs a millisecond or two."""
_LONG_S = 1.0
"""Of computing, after which the daemon is told that a job still runs."""


@dataclass(slots=True)
class _Job:
    """For whom a job runs, and how long it has."""

    model: Model
    turn: Turn
    took_s: float = 0.0


class Replicas:
    """Keeps a crew busy with what waits."""

    def __init__(
        self,
        models: Mapping[str, Model],
        turns: Turns,
        sweeps: Sweeps,
        *,
        begin: Callable[[Model, wire.Priority], Iterator[Ran] | None],
        finish: Callable[[Model, Ran | Stepped], None],
        rest: Callable[[], None],
        busy: Callable[[float], None],
    ) -> None:
        self._models = models
        self._turns = turns
        self._sweeps = sweeps
        self._begin = begin
        self._finish = finish
        self._rest = rest
        self._busy = busy
        self._told = 0.0
        self._rested = True
        self._crew: Crew[_Job, Ran | Stepped] = Crew()
        self._stuck = False
        """Nothing can begin before something comes or ends."""

    @property
    def idle(self) -> bool:
        """Nothing is computed."""
        return not self._crew.busy

    def resize(self, size: int) -> None:
        """Let so many batches run at once."""
        self._crew.resize(size)

    def wait(self, channel: Readable, preparing: Preparing) -> None:
        """Wait until there is something to do; give memory back when there is not."""
        if not self._stuck:
            return
        idle = self.idle and not self._rested and not preparing.busy
        timeout_s = TICK_S if preparing.busy else _REST_S if idle else None
        if not wait(channel, preparing, self._crew, timeout_s=timeout_s) and idle:
            self._rested = True
            self._rest()

    def turn(self) -> None:
        """Take what was computed, and begin what can be.

        Raises:
            DeviceUnusable: the device cannot go on.
        """
        for job, done in self._crew.take():
            if done is None:
                job.model.running -= 1
                self._turns.charge(job.turn, job.took_s)
            else:
                job.took_s += done.end - done.start
                self._finish(job.model, done)
        while self._crew.free and self._next():
            pass
        calibrates = bool(self._sweeps) and self.idle
        if calibrates:
            self._sweeps.step()
        self._stuck = not calibrates
        self._tell()

    def close(self) -> None:
        """End the threads."""
        self._crew.close()

    def _tell(self) -> None:
        """Say since when the oldest job runs, if that is long; whoever waits judges by it."""
        since = self._crew.since
        if since and time.monotonic() - since < _LONG_S:
            since = 0.0
        if since != self._told:
            self._told = since
            self._busy(since)

    def _next(self) -> bool:
        """Begin one job: whose turn it is of those that may have one more, `Turns` says."""
        lines = waiting(self._models)
        turn = self._turns.choose(lines, {it for it in lines if self._models[it.key].free})
        if turn is None:
            return False
        model, priority = self._models[turn.line.key], turn.line.priority
        if turn.line.streams:
            self._put(_Job(model, turn), step(model.steps[priority].popleft()))
        elif batch := self._begin(model, priority):
            self._put(_Job(model, turn), batch)
        else:
            self._turns.charge(turn, 0.0)
        return True

    def _put(self, job: _Job, work: Iterator[Ran | Stepped]) -> None:
        job.model.running += 1
        self._rested = False
        self._crew.put(job, work)
