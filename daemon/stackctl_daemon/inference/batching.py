"""Which inputs are computed together; refuses to know how.

A batch costs what its padding costs: ``longest * count``. So inputs of like length go
together, around one that is due, within a bound of padded cost. Who is due: the input that has
waited longest of the user who had the smallest share so far (start-time fair queueing: Goyal,
Vin and Cheng, SIGCOMM 1996), so that a user with one question is not behind another's million.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")


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

    def __init__(self) -> None:
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
        insort(self._by_length, item)
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
        """Take the input that is due and its nearest in length, at least one; shortest first."""
        user = min(self._share, key=lambda u: (self._share[u], self._by_arrival[u][0].number))
        anchor = self._by_arrival[user][0]
        low = bisect_left(self._by_length, anchor)
        high = low + 1
        items = self._by_length
        while True:
            count = high - low + 1
            longest = items[high - 1].length
            below = low > 0 and longest * count <= budget
            above = high < len(items) and items[high].length * count <= budget
            if not (below or above):
                break
            if below and above:
                # The smaller step in length pads less.
                below = longest - items[low - 1].length <= items[high].length - longest
            low, high = (low - 1, high) if below else (low, high + 1)
        batch = items[low:high]
        del items[low:high]
        for item in batch:
            item.taken = True
            self._share[item.user] += item.length
        self._settle()
        return batch

    def _settle(self) -> None:
        for user, waiting in list(self._by_arrival.items()):
            while waiting and waiting[0].taken:
                waiting.popleft()
            if not waiting:
                del self._by_arrival[user], self._share[user]
