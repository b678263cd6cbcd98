"""The first item decides, and whatever happens the source is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from stackctl.errors import Overloaded
from stackctl_daemon.http.stream import begun


class Source:
    """Numbers, after a refusal or a wait; tells whether it was closed."""

    def __init__(self, count: int, *, error: Exception | None = None, waits: bool = False) -> None:
        self.closed = self.waiting = False
        self.items = self._items(count, error, waits)

    async def _items(
        self, count: int, error: Exception | None, waits: bool
    ) -> AsyncGenerator[int, None]:
        try:
            if error:
                raise error
            if waits:
                self.waiting = True
                await asyncio.Event().wait()
            for number in range(count):
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_is_lost_or_doubled(count: int) -> None:
    async def read() -> list[int]:
        return [number async for number in await begun(Source(count).items)]

    assert asyncio.run(read()) == list(range(count))


def test_a_refusal_before_the_first_item_is_raised() -> None:
    source = Source(1, error=Overloaded("full", retry_after_s=2.0))

    with pytest.raises(Overloaded, match="full"):
        asyncio.run(begun(source.items))

    assert source.closed


def test_closing_what_was_never_read_closes_the_source() -> None:
    source = Source(3)

    async def leave() -> bool:
        await (await begun(source.items)).aclose()
        return source.closed

    assert asyncio.run(leave())


def test_whoever_is_cancelled_before_the_first_item_has_closed_the_source() -> None:
    source = Source(1, waits=True)

    async def leave() -> bool:
        task = asyncio.ensure_future(begun(source.items))
        while not source.waiting:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return source.closed

    assert asyncio.run(leave())
