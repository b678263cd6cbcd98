"""A streamed answer whose first item decides its status; refuses to change what it carries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """What a generator gives, of which one item was taken already.

    A class and not a generator: one that was never begun would not close what it reads from.
    """

    def __init__(self, first: list[T], rest: AsyncGenerator[T, None]) -> None:
        self._first, self._rest = first, rest

    def __aiter__(self) -> AsyncIterator[T]:
        """Give itself: it is read once."""
        return self

    async def __anext__(self) -> T:
        """Give the next item."""
        return self._first.pop() if self._first else await anext(self._rest)

    async def aclose(self) -> None:
        """End the work behind it."""
        await self._rest.aclose()


async def begun(source: AsyncGenerator[T, None]) -> Begun[T]:
    """Wait for the first item, so that a refusal before it is an answer of its own status.

    Whoever is cancelled meanwhile has closed the source.

    Raises:
        Exception: what the source raises before its first item.
    """
    try:
        return Begun([await anext(source)], source)
    except StopAsyncIteration:
        return Begun([], source)
