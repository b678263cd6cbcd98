"""How many inputs wait at once, and who is let in; refuses to know what they are.

One rule for a single input and for a list: a request is let in when there is room for its first
window, and refused otherwise with the time in which there will be. What was let in is never
refused later: its next windows wait for room in order of arrival, and one that waits is handed
room as it comes about.

Nobody is shut out by others' lists. A list longer than a window, nearly a quarter of the queue,
goes in windows, which together hold no more than half of it. They and whatever else is bulk,
which is requests of batch priority and lists of more than 64 inputs, hold no more than three
quarters, batch priority alone no more than half. The last inputs of each bound, 64 or an eighth of
a small queue, are for users who have none there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from stackctl.errors import Overloaded
from stackctl_daemon.inference.protocol import Priority

_HALF_LIFE_S = 5.0
_FIRST_RATE = 50.0
"""Inputs a second of a model of which nothing is known yet."""
_MAX_WAIT_S = 60.0
_KEPT = 256
"""Models whose rate is remembered, before those are forgotten of which nothing is queued."""
_SMALL = 64
"""Inputs of a list that is not bulk, at most."""


class Claim(NamedTuple):
    """What a request, or a window of it, takes of the queue."""

    model: str
    inputs: int
    bulk: bool = False
    batch: bool = False
    """Of batch priority, which is bulk."""
    windowed: bool = False
    """Part of a longer list, which is bulk."""
    user: int = -1


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
    claim: Claim
    room: asyncio.Future[None]


class _Bound(NamedTuple):
    limit: int
    held: int
    what: str


class Admission:
    """The bound of the queue."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.queued = 0
        """Inputs let in and not answered."""
        self._limit = limit
        self._clock = clock
        self._drains: dict[str, Drain] = {}
        self._windows = self._batch = self._bulk = 0
        """Inputs of each kind among those let in."""
        self._half = max(1, limit // 2)
        self._bulk_limit = max(1, limit * 3 // 4)
        self._kept = min(_SMALL, limit // 8)
        """The last of a bound, for whoever has none there."""
        self.window = max(1, (self._half - self._kept) // 2)
        """Inputs of a longer list that are let in at once: two of them leave what is kept."""
        self._users: Counter[tuple[int, bool]] = Counter()
        """Inputs let in by user, and whether they are bulk."""
        self._waiting: deque[_Waiting] = deque()

    def claim(
        self, model: str, count: int, *, total: int, window: int, priority: Priority, user: int
    ) -> Claim:
        """Tell what inputs of a list of so many take of the queue, which goes in such windows."""
        windowed, batch = total > window, priority == "batch"
        bulk = windowed or batch or total > min(_SMALL, self.window)
        return Claim(model, count, bulk, batch, windowed, user)

    def enter(self, claim: Claim) -> None:
        """Let in a request, or its first window.

        Raises:
            Overloaded: there is no room.
        """
        for bound in self._bounds(claim):
            short = bound.held + claim.inputs - bound.limit
            if short > 0:
                full = Overloaded(
                    f"{self.queued} inputs are queued, {claim.inputs} more are above"
                    f" {bound.limit} of inference.max_queued_texts, {self._limit}{bound.what}",
                    hint="stackctl devices",
                    retry_after_s=round(self.drained_s(short), 1),
                )
                full.queue_s = 0.0
                raise full
        self._take(claim)
        self._drain(claim.model).enter(claim.inputs, self._clock())

    async def wait(self, claim: Claim) -> None:
        """Let in a later window, once there is room."""
        if self._waiting or not self._has_room(claim):
            waiting = _Waiting(claim, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            try:
                await waiting.room
            except asyncio.CancelledError:
                if waiting.room.done() and not waiting.room.cancelled():
                    self._take(claim, -1)  # it was handed room in the same turn
                elif waiting in self._waiting:
                    self._waiting.remove(waiting)
                self._hand_on()
                raise
        else:
            self._take(claim)
        self._drain(claim.model).enter(claim.inputs, self._clock())

    def leave(self, claim: Claim, *, answered: bool) -> None:
        """Give room back."""
        drain = self._drain(claim.model)
        drain.leave(claim.inputs, self._clock(), answered=answered)
        if len(self._drains) > _KEPT:
            self._drains = {name: one for name, one in self._drains.items() if one.queued}
        self._take(claim, -1)
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

    def _bounds(self, claim: Claim) -> list[_Bound]:
        """Give what a request must fit in, with what is promised to windows that wait."""
        first = self._waiting[0].claim if self._waiting else None
        promised = first.inputs if first and self._windows_fit(first) else 0
        new = not self._users[claim.user, claim.bulk]
        kept = 0 if new else self._kept
        rest = "" if new else f": the last {kept} are for users who have none queued"
        if not claim.bulk:
            return [_Bound(self._limit - kept, self.queued + promised, rest)]
        most = _Bound(self._limit - self._kept, self.queued + promised, "")
        bulk = _Bound(
            self._bulk_limit - kept,
            self._bulk + promised,
            f" for batch priority and lists of more than {min(_SMALL, self.window)}{rest}",
        )
        bounds = [most, bulk]
        if claim.windowed:
            waiting = sum(waiting.claim.inputs for waiting in self._waiting)
            held = self._windows + waiting
            bounds.append(_Bound(self._half, held, f" for lists of more than {self.window}"))
        if claim.batch:
            own = promised if first and first.batch else 0
            bounds.append(
                _Bound(self._half - kept, self._batch + own, f" for batch priority{rest}")
            )
        return bounds

    def _drain(self, model: str) -> Drain:
        found = self._drains.get(model)
        if found is None:
            found = self._drains[model] = Drain()
        return found

    def _windows_fit(self, claim: Claim) -> bool:
        batch = self._batch + claim.inputs if claim.batch else 0
        return max(self._windows + claim.inputs, batch) <= self._half

    def _has_room(self, claim: Claim) -> bool:
        fits = self._windows_fit(claim) and self._bulk + claim.inputs <= self._bulk_limit
        return fits and self.queued + claim.inputs <= self._limit

    def _take(self, claim: Claim, sign: int = 1) -> None:
        count = sign * claim.inputs
        self.queued += count
        self._bulk += count * claim.bulk
        self._batch += count * claim.batch
        self._windows += count * claim.windowed
        key = claim.user, claim.bulk
        self._users[key] += count
        if not self._users[key]:
            del self._users[key]

    def _hand_on(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].claim):
            waiting = self._waiting.popleft()
            if not waiting.room.done():
                self._take(waiting.claim)
                waiting.room.set_result(None)
