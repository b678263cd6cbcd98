"""Who is let into the queue, in what order, and when whoever is refused may come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import Overloaded
from stackctl_daemon.inference.admission import Admission


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drained(rates: dict[str, tuple[float, int]]) -> Admission:
    """A queue whose models drained at these rates, with so many inputs waiting each."""
    clock = Clock()
    queue = Admission(10_000, clock=clock)
    for name, (rate, waiting) in rates.items():
        for _ in range(50):
            queue.enter(name, 10)
            clock.now += 10 / rate
            queue.leave(name, 10, answered=True)
        queue.enter(name, waiting)
    return queue


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(st.floats(1, 1000), st.integers(1, 2000)),
        min_size=1,
    ),
    st.floats(0.01, 1),
)
def test_a_model_drains_at_its_own_rate(rates: dict[str, tuple[float, int]], part: float) -> None:
    queue = drained(rates)
    count = max(1, int(queue.queued * part))

    after_s = queue.drained_s(count)

    def left(seconds: float) -> float:
        return sum(min(waiting, rate * seconds) for rate, waiting in rates.values())

    if 0.1 < after_s < 60:
        assert left(after_s) == pytest.approx(count, rel=1e-3)
    assert after_s < 60 or left(60) <= count * 1.001
    assert after_s > 0.1 or left(0.1) >= count * 0.999


def test_a_slow_models_queue_is_not_said_to_drain_as_fast_as_a_fast_ones() -> None:
    queue = drained({"fast": (1000.0, 1), "slow": (1.0, 9_999)})

    with pytest.raises(Overloaded) as caught:
        queue.enter("fast", 31)

    assert caught.value.retry_after_s == pytest.approx(30, rel=0.05)


def test_time_without_work_does_not_count() -> None:
    clock = Clock()
    queue = Admission(100, clock=clock)
    for _ in range(5):
        queue.enter("m", 10)
        clock.now += 1
        queue.leave("m", 10, answered=True)
        clock.now += 1000

    queue.enter("m", 50)

    assert queue.drained_s(50) == pytest.approx(5, rel=0.01)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_list_that_was_let_in_waits_for_room_and_is_not_refused() -> None:
    async def body() -> None:
        queue = Admission(8)
        queue.enter("m", 2, windowed=True)
        queue.leave("m", 2, windowed=True, answered=True)
        queue.enter("m", 8)
        later = asyncio.ensure_future(queue.wait("m", 2))
        await settled()
        assert not later.done()

        queue.leave("m", 8, answered=True)
        await later

        assert queue.queued == 2

    asyncio.run(body())


def test_windows_are_let_in_by_arrival_and_leave_half_to_others() -> None:
    async def body() -> None:
        queue, order = Admission(8), []

        async def windows(name: str) -> None:
            queue.enter(name, 2, windowed=True)
            for _ in range(3):
                await settled()
                queue.leave(name, 2, windowed=True, answered=True)
                await queue.wait(name, 2)
                order.append(name)
            queue.leave(name, 2, windowed=True, answered=True)

        running = [asyncio.ensure_future(windows(name)) for name in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            queue.enter("c", 2, windowed=True)
        for _ in range(4):
            queue.enter("small", 1)
        with pytest.raises(Overloaded):
            queue.enter("small", 1)
        await asyncio.gather(*running)

        assert order == list("ababab")
        assert queue.queued == 4

    asyncio.run(body())


def test_small_requests_that_keep_coming_do_not_starve_a_window() -> None:
    async def body() -> None:
        queue, small = Admission(16), deque[int]()
        queue.enter("list", 4, windowed=True)

        def fill() -> int:
            count = 0
            with contextlib.suppress(Overloaded):
                while True:
                    queue.enter("small", 1)
                    small.append(1)
                    count += 1
            return count

        fill()
        queue.leave("list", 4, windowed=True, answered=True)
        fill()
        waiting = asyncio.ensure_future(queue.wait("list", 4))
        await settled()
        turns = 0
        while not waiting.done():
            queue.leave("small", small.popleft(), answered=True)
            fill()
            await settled()
            turns += 1

        assert turns == 4
        # And others are let in again beside it.
        queue.leave("small", small.popleft(), answered=True)
        assert fill() == 1

    asyncio.run(body())


@pytest.mark.parametrize("handed", [False, True])
def test_a_window_that_nobody_waits_for_any_more_keeps_no_room(handed: bool) -> None:
    async def body() -> None:
        queue = Admission(4)
        queue.enter("m", 4)
        first, second = (asyncio.ensure_future(queue.wait("m", 1)) for _ in range(2))
        await settled()

        if handed:
            queue.leave("m", 4, answered=True)
        first.cancel()
        if not handed:
            queue.leave("m", 4, answered=True)
        await asyncio.wait([first, second])

        assert first.cancelled()
        assert queue.queued == 1
        queue.leave("m", 1, windowed=True, answered=True)
        queue.enter("m", 4)

    asyncio.run(body())
