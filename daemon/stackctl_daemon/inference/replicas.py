"""Several batches at once: which model's is next; refuses to form batches or to send answers.

Everything here runs in the thread that reads commands, but for the jobs themselves. A step of a
stream is a job like a batch: streams of one model run side by side, and a long step keeps
nobody's command waiting.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.computing import Ran, Stepped, step
from stackctl_daemon.inference.crew import Crew
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.worker_state import PRIORITIES, Model, Stream

_REST_S = 0.5
"""Without work before memory is given back: taking it again costs a millisecond or two."""


class Replicas:
    """Keeps a crew busy with what waits."""

    def __init__(
        self,
        models: Mapping[str, Model],
        streams: Mapping[str, deque[Stream]],
        sweeps: Sweeps,
        *,
        begin: Callable[[Model, wire.Priority], Iterator[Ran] | None],
        finish: Callable[[Model, Ran | Stepped], None],
        rest: Callable[[], None],
    ) -> None:
        self._models = models
        self._streams = streams
        self._sweeps = sweeps
        self._begin = begin
        self._finish = finish
        self._rest = rest
        self._rested = True
        self._crew: Crew[Model, Ran | Stepped] = Crew()
        self._stuck = False
        """Nothing can begin before something comes or ends."""
        self._streams_next = False

    @property
    def idle(self) -> bool:
        """Nothing is computed."""
        return not self._crew.busy

    def resize(self, size: int) -> None:
        """Let so many batches run at once."""
        self._crew.resize(size)

    def wait(self, channel: socket.socket) -> None:
        """Wait until there is something to do; give memory back when there is not."""
        if not self._stuck:
            return
        idle = self.idle and not self._rested
        if not self._crew.wait(channel, _REST_S if idle else None):
            self._rested = True
            self._rest()

    def turn(self) -> None:
        """Take what was computed, and begin what can be.

        Raises:
            DeviceUnusable: the device cannot go on.
        """
        for model, done in self._crew.take():
            if done is None:
                model.running -= 1
            else:
                self._finish(model, done)
        while self._crew.free and self._next():
            pass
        calibrates = bool(self._sweeps) and self.idle
        if calibrates:
            self._sweeps.step()
        self._stuck = not calibrates

    def close(self) -> None:
        """End the threads."""
        self._crew.close()

    def _next(self) -> bool:
        """Begin one job: interactive first, batches and streams by turns, then the oldest."""
        for priority in PRIORITIES:
            waiting = self._streams[priority]
            stream = next((s for s in waiting if s.request.model.free), None)
            found = [m for m in self._models.values() if m.queues[priority] and m.free]
            if stream and (self._streams_next or not found):
                self._streams_next = False
                waiting.remove(stream)
                self._put(stream.request.model, step(stream))
                return True
            if found:
                self._streams_next = True
                model = min(found, key=lambda m: m.queues[priority].oldest)
                job = self._begin(model, priority)
                if job is not None:
                    self._put(model, job)
                return True
        return False

    def _put(self, model: Model, job: Iterator[Ran | Stepped]) -> None:
        model.running += 1
        self._rested = False
        self._crew.put(model, job)
