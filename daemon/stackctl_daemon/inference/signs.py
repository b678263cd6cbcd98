"""Whether a worker that owes something still works; refuses to end one that does not.

Two signs are looked for: a process that says nothing, and one that goes on while a job of it,
a batch or a step of a stream, does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

MAX_TUNE_S = 60.0
"""Of computing without a sign of life, when a model is calibrated (`warm_up_s`)."""


class Signs:
    """Signs of life of one process."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._heard = self._idle_at = clock()
        self._busy_since = 0.0
        self.lost_s = 0.0
        """How long it had not worked when it was lost."""

    def heard(self) -> None:
        """Note that it said something."""
        self._heard = self._clock()

    def busy(self, since: float) -> None:
        """Note since when the oldest of its long jobs runs; 0: there is none."""
        self._busy_since = since

    def lost(self, *, owes: bool, tunes: bool) -> str:
        """Say how it does not work any more; empty where it does.

        Args:
            owes: somebody waits for it; an idle worker owes no sign of life.
            tunes: it calibrates, of which nothing is heard.
        """
        now = self._clock()
        if not owes:
            self._idle_at = now
        silent_s = now - max(self._heard, self._idle_at)
        if silent_s > self._timeout_s + (MAX_TUNE_S if tunes else 0):
            self.lost_s = silent_s
            return f"silent_s={silent_s:.1f}"
        # While it is silent its word of a job is old: the job may have ended.
        busy_s = self._heard - self._busy_since if self._busy_since else 0.0
        if busy_s <= self._timeout_s:
            return ""
        self.lost_s = busy_s
        return f"job_s={busy_s:.1f}"

    async def fade(self, *, owes: Callable[[], bool], tunes: Callable[[], bool]) -> str:
        """Wait until it does not work any more; say how."""
        while True:
            await asyncio.sleep(self._timeout_s / 4)
            if lost := self.lost(owes=owes(), tunes=tunes()):
                return lost
