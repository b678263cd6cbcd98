"""How many inputs wait at once, and who is let in; refuses to know what they are.

One rule for a single input and for a list: a request is let in when there is room for its first
window, and refused otherwise with the time in which there will be. What was let in is never
refused later: its next windows wait for room in order of arrival. Windows together hold no more
than half of the queue, and one that waits is handed room as it comes about, so that neither
long lists nor small requests starve the other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stackctl.errors import Overloaded

_HALF_LIFE_S = 5.0
_FIRST_RATE = 50.0
"""Inputs a second of a model of which nothing is known yet."""
_MAX_WAIT_S = 60.0


@dataclass(slots=True)
class Drain:
    """How fast the inputs of one model leave, while any of them wait."""

    queued: int = 0
    _left: float = 0.0
    _seconds: float = 0.0
    _since: float = 0.0

    @property
    def rate(self) -> float:
        """Inputs a second: the latest weigh most."""
        return max(self._left, 1e-3) / self._seconds if self._seconds > 0 else _FIRST_RATE

    def enter(self, count: int, now: float) -> None:
        """Note inputs that wait from now on."""
        if not self.queued:
            self._since = now
        self.queued += count

    def leave(self, count: int, now: float, *, answered: bool) -> None:
        """Note inputs that wait no more."""
        self.queued -= count
        if not answered:
            return
        passed = max(now - self._since, 1e-6)
        weight = 0.5 ** (passed / _HALF_LIFE_S)
        self._left = self._left * weight + count
        self._seconds = self._seconds * weight + passed
        self._since = now


@dataclass(slots=True, eq=False)
class _Waiting:
    count: int
    room: asyncio.Future[None]


class Admission:
    """The bound of the queue."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.queued = 0
        """Inputs let in and not answered."""
        self.window = max(1, limit // 4)
        """Inputs of a longer list that are let in at once."""
        self._limit = limit
        self._clock = clock
        self._drains: dict[str, Drain] = {}
        self._windows = 0
        """Inputs of windows among those let in."""
        self._windows_limit = max(1, limit // 2)
        self._waiting: deque[_Waiting] = deque()

    def enter(self, model: str, count: int, *, windowed: bool = False) -> None:
        """Let in a request, or its first window.

        Raises:
            Overloaded: there is no room.
        """
        short = self.queued + count + self._promised - self._limit
        if windowed:
            waiting = sum(waiting.count for waiting in self._waiting)
            short = max(short, self._windows + waiting + count - self._windows_limit)
        if short > 0:
            full = Overloaded(
                f"{self.queued} inputs are queued, {count} more are above {self._limit}",
                hint="stackctl devices",
                retry_after_s=round(self.drained_s(short), 1),
            )
            full.queue_s = 0.0
            raise full
        self._take(count, windowed)
        self._drain(model).enter(count, self._clock())

    async def wait(self, model: str, count: int) -> None:
        """Let in a later window, once there is room."""
        if self._waiting or not self._has_room(count):
            waiting = _Waiting(count, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            try:
                await waiting.room
            except asyncio.CancelledError:
                if waiting.room.done() and not waiting.room.cancelled():
                    self._take(-count, windowed=True)  # it was handed room in the same turn
                elif waiting in self._waiting:
                    self._waiting.remove(waiting)
                self._hand_on()
                raise
        else:
            self._take(count, windowed=True)
        self._drain(model).enter(count, self._clock())

    def leave(self, model: str, count: int, *, windowed: bool = False, answered: bool) -> None:
        """Give room back."""
        self._drain(model).leave(count, self._clock(), answered=answered)
        self._take(-count, windowed)
        if self._waiting:
            self._hand_on()

    def drained_s(self, count: int) -> float:
        """Tell in how many seconds so many inputs will have left, at each model's own rate."""
        left, passed = float(count), 0.0
        draining = sorted((d.queued / d.rate, d.rate) for d in self._drains.values() if d.queued)
        rate = sum(rate for _, rate in draining)
        for empty_s, own in draining:
            if (empty_s - passed) * rate >= left:
                break
            left -= (empty_s - passed) * rate
            passed, rate = empty_s, rate - own
        else:
            left = 0.0
        return min(_MAX_WAIT_S, max(0.1, passed + left / rate if left else passed))

    @property
    def _promised(self) -> int:
        """Room that the first who waits is short of: it is kept for him."""
        first = self._waiting[0].count if self._waiting else 0
        return first if self._windows + first <= self._windows_limit else 0

    def _drain(self, model: str) -> Drain:
        found = self._drains.get(model)
        if found is None:
            found = self._drains[model] = Drain()
        return found

    def _has_room(self, count: int) -> bool:
        fits = self._windows + count <= self._windows_limit
        return fits and self.queued + count <= self._limit

    def _take(self, count: int, windowed: bool) -> None:
        self.queued += count
        if windowed:
            self._windows += count

    def _hand_on(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].count):
            waiting = self._waiting.popleft()
            if not waiting.room.done():
                self._take(waiting.count, windowed=True)
                waiting.room.set_result(None)
