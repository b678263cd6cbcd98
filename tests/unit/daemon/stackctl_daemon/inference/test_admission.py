"""Who is let into the queue, in what order, and when whoever is refused may come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import Overloaded
from stackctl_daemon.inference.admission import Admission, Claim
from stackctl_daemon.inference.protocol import Priority


def window(model: str, count: int) -> Claim:
    return Claim(model, count, bulk=True, windowed=True)


def claims(
    queue: Admission, count: int, priority: Priority = "interactive", user: int = -1
) -> Claim:
    """As the pool asks for a list."""
    first = min(count, queue.window)
    return queue.claim("m", first, total=count, window=queue.window, priority=priority, user=user)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drained(rates: dict[str, tuple[float, int]]) -> Admission:
    """A queue whose models drained at these rates, with so many inputs waiting each."""
    clock = Clock()
    queue = Admission(10_000, clock=clock)
    for user, (name, (rate, waiting)) in enumerate(rates.items()):
        for _ in range(50):
            queue.enter(Claim(name, 10))
            clock.now += 10 / rate
            queue.leave(Claim(name, 10), answered=True)
        queue.enter(Claim(name, waiting, user=user))
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
        queue.enter(Claim("fast", 31))

    assert caught.value.retry_after_s == pytest.approx(30, rel=0.05)


def test_time_without_work_does_not_count() -> None:
    clock = Clock()
    queue = Admission(100, clock=clock)
    for _ in range(5):
        queue.enter(Claim("m", 10))
        clock.now += 1
        queue.leave(Claim("m", 10), answered=True)
        clock.now += 1000

    queue.enter(Claim("m", 50))

    assert queue.drained_s(50) == pytest.approx(5, rel=0.01)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_list_that_was_let_in_waits_for_room_and_is_not_refused() -> None:
    async def body() -> None:
        queue = Admission(8)
        queue.enter(window("m", 2))
        queue.leave(window("m", 2), answered=True)
        queue.enter(Claim("m", 8))
        later = asyncio.ensure_future(queue.wait(window("m", 2)))
        await settled()
        assert not later.done()

        queue.leave(Claim("m", 8), answered=True)
        await later

        assert queue.queued == 2

    asyncio.run(body())


def test_windows_are_let_in_by_arrival_and_leave_half_to_others() -> None:
    async def body() -> None:
        queue, order = Admission(8), []

        async def windows(name: str) -> None:
            queue.enter(window(name, 2))
            for _ in range(3):
                await settled()
                queue.leave(window(name, 2), answered=True)
                await queue.wait(window(name, 2))
                order.append(name)
            queue.leave(window(name, 2), answered=True)

        running = [asyncio.ensure_future(windows(name)) for name in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            queue.enter(window("c", 2))
        for _ in range(4):
            queue.enter(Claim("small", 1, user=queue.queued))
        with pytest.raises(Overloaded):
            queue.enter(Claim("small", 1, user=8))
        await asyncio.gather(*running)

        assert order == list("ababab")
        assert queue.queued == 4

    asyncio.run(body())


def test_small_requests_that_keep_coming_do_not_starve_a_window() -> None:
    async def body() -> None:
        queue, small, users = Admission(16), deque[Claim](), count()
        queue.enter(window("list", 4))

        def fill() -> int:
            before = len(small)
            with contextlib.suppress(Overloaded):
                while True:
                    claim = Claim("small", 1, user=next(users))
                    queue.enter(claim)
                    small.append(claim)
            return len(small) - before

        fill()
        queue.leave(window("list", 4), answered=True)
        fill()
        waiting = asyncio.ensure_future(queue.wait(window("list", 4)))
        await settled()
        turns = 0
        while not waiting.done():
            queue.leave(small.popleft(), answered=True)
            fill()
            await settled()
            turns += 1

        assert turns == 4
        # And others are let in again beside it.
        queue.leave(small.popleft(), answered=True)
        assert fill() == 1

    asyncio.run(body())


@pytest.mark.parametrize("handed", [False, True])
def test_a_window_that_nobody_waits_for_any_more_keeps_no_room(handed: bool) -> None:
    async def body() -> None:
        queue = Admission(4)
        queue.enter(Claim("m", 4))
        first, second = (asyncio.ensure_future(queue.wait(window("m", 1))) for _ in range(2))
        await settled()

        if handed:
            queue.leave(Claim("m", 4), answered=True)
        first.cancel()
        if not handed:
            queue.leave(Claim("m", 4), answered=True)
        await asyncio.wait([first, second])

        assert first.cancelled()
        assert queue.queued == 1
        queue.leave(window("m", 1), answered=True)
        queue.enter(Claim("m", 4))

    asyncio.run(body())


def filled(queue: Admission, count: int, priority: Priority, user: int) -> int:
    """Have a user send lists of so many until one is refused; give what is queued of them."""
    before = queue.queued
    with contextlib.suppress(Overloaded):
        while True:
            queue.enter(claims(queue, count, priority, user))
    return queue.queued - before


@given(
    limit=st.integers(1, 10_000),
    lists=st.lists(
        st.tuples(
            st.integers(1, 3000), st.sampled_from(["interactive", "batch"]), st.integers(1, 3)
        ),
        max_size=8,
    ),
)
def test_lists_shut_out_no_question(limit: int, lists: list[tuple[int, Priority, int]]) -> None:
    """Whatever lists of more than 64 inputs, or of batch priority, others keep sending."""
    queue = Admission(limit)
    for size, priority, user in lists:
        if priority == "batch" or size > 64:
            filled(queue, size, priority, user)

    assert queue.queued <= max(1, limit * 3 // 4)
    if limit > 1:
        queue.enter(claims(queue, 1, "interactive", user=9))


@given(limit=st.integers(2, 10_000), size=st.integers(1, 3000))
def test_batch_priority_holds_half_at_most(limit: int, size: int) -> None:
    queue = Admission(limit)
    held = sum(filled(queue, size, "batch", user) for user in (1, 2, 3))

    assert 0 < held <= limit // 2


@pytest.mark.parametrize("priority", ["interactive", "batch"])
@pytest.mark.parametrize("size", [1, 64, 300, 2048, 10_000])
def test_a_user_who_has_nothing_queued_finds_room(priority: Priority, size: int) -> None:
    queue = Admission(8192)
    filled(queue, size, priority, user=1)
    with pytest.raises(Overloaded):
        queue.enter(claims(queue, size, priority, user=1))

    queue.enter(claims(queue, 64, priority, user=2))


def test_two_lists_of_one_user_go_side_by_side() -> None:
    queue = Admission(8192)

    for _ in range(2):
        queue.enter(claims(queue, 10_000, "batch"))


def test_models_that_went_are_forgotten() -> None:
    queue = Admission(100)
    queue.enter(Claim("stays", 1))
    for i in range(2000):
        queue.enter(Claim(f"m{i}", 1))
        queue.leave(Claim(f"m{i}", 1), answered=True)

    assert len(queue._drains) < 300
    assert queue._drains["stays"].queued == 1
