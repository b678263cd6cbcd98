"""Several batches at once: which model's is next; refuses to form batches or to send answers.

Everything here runs in the thread that reads commands, but for the jobs themselves. A step of a
stream is a job like a batch: streams of one model run side by side, and a long step keeps
nobody's command waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.computing import Ran, Stepped, step
from stackctl_daemon.inference.crew import Crew, Readable, wait
from stackctl_daemon.inference.preparing import TICK_S, Preparing
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.turns import Line, Turns
from stackctl_daemon.inference.worker_state import Model, waiting

_REST_S = 0.5
"""Without work before memory is given back: taking it again costs a millisecond or two."""
_LONG_S = 1.0
"""Of computing, after which the daemon is told that a job still runs."""


class _Turn(NamedTuple):
    """For whom a job runs."""

    model: Model
    line: Line


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
        self._crew: Crew[_Turn, Ran | Stepped] = Crew()
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
        for turn, done in self._crew.take():
            if done is None:
                turn.model.running -= 1
            else:
                self._turns.charge(turn.line, done.end - done.start)
                self._finish(turn.model, done)
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
        free = {key: model for key, model in self._models.items() if model.free}
        line = self._turns.choose(waiting(free))
        if line is None:
            return False
        turn = _Turn(free[line.key], line)
        if line.streams:
            self._put(turn, step(turn.model.steps[line.priority].popleft()))
        elif job := self._begin(turn.model, line.priority):
            self._put(turn, job)
        return True

    def _put(self, turn: _Turn, job: Iterator[Ran | Stepped]) -> None:
        turn.model.running += 1
        self._rested = False
        self._crew.put(turn, job)
