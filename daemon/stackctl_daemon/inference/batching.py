"""Which inputs are computed together; refuses to know how.

A batch costs what its padding costs: ``longest * count``. So inputs of like length go
together, around one that is due, within a bound of padded cost. A graph that packs computes no
padding but in attention, whose scores are ``longest`` squared for each input; there, what is
about as long is taken as it came. Who is due: the input that has
waited longest of the user who had the smallest share so far (start-time fair queueing: Goyal,
Vin and Cheng, SIGCOMM 1996), so that a user with one question is not behind another's million.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")


_LIKE = 32
"""Tokens of length within which inputs of a graph that packs are taken in order of arrival."""
_SCORES_PER_TOKEN = 1000
"""Attention scores (a layer has them for each head) that cost as much as the rest of a token: 12
heads, 384 wide, one core (ADR 8)."""


def batch_cost(count: int, longest: int, total: int, *, packed: bool) -> int:
    """Give what a batch costs, in tokens.

    Args:
        count: its inputs.
        longest: tokens of the longest.
        total: tokens of all.
        packed: the graph leaves padding out.
    """
    if packed:
        return total + count * longest * longest // _SCORES_PER_TOKEN
    return count * longest


@dataclass(slots=True, order=True)
class Item(Generic[R]):
    """One input, made ready."""

    length: int
    """Its cost: tokens of a text."""
    number: int
    """Order of arrival; unique in a queue."""
    row: int = field(compare=False)
    """Its place in the request's answer."""
    unit: Any = field(compare=False)
    request: R = field(compare=False)
    user: int = field(default=-1, compare=False)
    taken: bool = field(default=False, compare=False)


class LengthQueue(Generic[R]):
    """Waiting inputs of one model and priority."""

    def __init__(self, *, packed: bool = False) -> None:
        self._packed = packed
        self._by_length: list[Item[R]] = []
        self._by_arrival: dict[int, deque[Item[R]]] = {}
        self._share: dict[int, float] = {}
        """Cost that each user who waits has had, above that of the least served."""

    def __len__(self) -> int:
        return len(self._by_length)

    @property
    def oldest(self) -> int:
        """Arrival number of the input that has waited longest; the queue is not empty."""
        return min(waiting[0].number for waiting in self._by_arrival.values())

    def add(self, item: Item[R]) -> None:
        """Queue an input."""
        insort(self._by_length, item, key=self._place)
        waiting = self._by_arrival.get(item.user)
        if waiting is None:
            # Whoever comes anew begins level with the least served, and saves up nothing.
            self._share[item.user] = min(self._share.values(), default=0.0)
            waiting = self._by_arrival[item.user] = deque()
        waiting.append(item)

    def drop(self, request: R) -> None:
        """Forget the inputs of a request."""
        for item in self._by_length:
            item.taken = item.request is request
        self._by_length = [item for item in self._by_length if not item.taken]
        self._settle()

    def take(self, budget: int) -> list[Item[R]]:
        """Take the input that is due and what goes well with it, at least one.

        Of a batch that nobody would be left behind, half is taken where half is enough for the
        device: else it idles while those who were answered ask again, all at once.
        """
        user = min(self._share, key=lambda u: (self._share[u], self._by_arrival[u][0].number))
        anchor = self._by_arrival[user][0]
        items = self._by_length
        low, high, cost = self._around(anchor, budget)
        if high - low == len(items) and cost >= budget // 2:
            low, high, cost = self._around(anchor, cost // 2)
        batch = items[low:high]
        del items[low:high]
        for item in batch:
            item.taken = True
            self._share[item.user] += item.length
        self._settle()
        return batch

    def _around(self, anchor: Item[R], budget: int) -> tuple[int, int, int]:
        """Give the bounds of a batch by length around an input, and its cost."""
        items = self._by_length
        low = bisect_left(items, self._place(anchor), key=self._place)
        high = low + 1
        longest = total = anchor.length
        cost = self._cost(1, longest, total)
        while True:
            count = high - low + 1
            before = items[low - 1].length if low > 0 else None
            after = items[high].length if high < len(items) else None
            if before and self._cost(count, max(longest, before), total + before) > budget:
                before = None
            if after and self._cost(count, max(longest, after), total + after) > budget:
                after = None
            if before is None and after is None:
                return low, high, cost
            # The smaller step in length pads less.
            below = after is None or (
                before is not None and abs(longest - before) <= abs(after - longest)
            )
            taken = (before if below else after) or 0
            longest, total = max(longest, taken), total + taken
            low, high = (low - 1, high) if below else (low, high + 1)
            cost = self._cost(count, longest, total)

    def _place(self, item: Item[R]) -> tuple[int, int]:
        return item.length // _LIKE if self._packed else item.length, item.number

    def _cost(self, count: int, longest: int, total: int) -> int:
        return batch_cost(count, longest, total, packed=self._packed)

    def _settle(self) -> None:
        for user, waiting in list(self._by_arrival.items()):
            while waiting and waiting[0].taken:
                waiting.popleft()
            if not waiting:
                del self._by_arrival[user], self._share[user]
