"""Which texts are computed together; refuses to know how.

A batch costs what its padding costs: ``longest * count`` tokens. So texts of like length go
together, around the one that has waited longest, within a bound of padded tokens.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(slots=True, order=True)
class Item(Generic[R]):
    """One text, tokenised."""

    length: int
    """Tokens."""
    number: int
    """Order of arrival; unique in a queue."""
    row: int = field(compare=False)
    """Its row in the request's answer."""
    ids: list[int] = field(compare=False)
    request: R = field(compare=False)
    taken: bool = field(default=False, compare=False)


class LengthQueue(Generic[R]):
    """Waiting texts of one model and priority."""

    def __init__(self) -> None:
        self._by_length: list[Item[R]] = []
        self._by_arrival: deque[Item[R]] = deque()

    def __len__(self) -> int:
        return len(self._by_length)

    @property
    def oldest(self) -> int:
        """Arrival number of the text that has waited longest; the queue is not empty."""
        while self._by_arrival[0].taken:
            self._by_arrival.popleft()
        return self._by_arrival[0].number

    def add(self, item: Item[R]) -> None:
        """Queue a text."""
        insort(self._by_length, item)
        self._by_arrival.append(item)

    def drop(self, request: R) -> None:
        """Forget the texts of a request."""
        for item in self._by_length:
            item.taken = item.request is request
        self._by_length = [item for item in self._by_length if not item.taken]
        self._settle()

    def take(self, padded_tokens: int) -> list[Item[R]]:
        """Take the oldest text and its nearest in length, at least one; shortest first."""
        self.oldest  # noqa: B018  drops what is taken from the front
        anchor = self._by_arrival[0]
        low = bisect_left(self._by_length, anchor)
        high = low + 1
        items = self._by_length
        while True:
            count = high - low + 1
            longest = items[high - 1].length
            below = low > 0 and longest * count <= padded_tokens
            above = high < len(items) and items[high].length * count <= padded_tokens
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
        self._settle()
        return batch

    def _settle(self) -> None:
        while self._by_arrival and self._by_arrival[0].taken:
            self._by_arrival.popleft()
