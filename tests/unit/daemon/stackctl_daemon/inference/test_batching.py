from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference.batching import Item, LengthQueue


def filled(lengths: list[int], request: str = "r") -> LengthQueue[str]:
    queue: LengthQueue[str] = LengthQueue()
    for number, length in enumerate(lengths):
        queue.add(Item(length, number, number, [0] * length, request))
    return queue


def test_like_lengths_go_together_around_the_oldest() -> None:
    queue = filled([10, 200, 11, 9, 190, 10])

    first = queue.take(512)
    second = queue.take(512)

    assert [item.length for item in first] == [9, 10, 10, 11]
    assert [item.length for item in second] == [190, 200]
    assert not queue


def test_a_text_above_the_bound_goes_alone() -> None:
    queue = filled([600, 3])

    assert [item.length for item in queue.take(512)] == [600]


def test_dropped_request_is_never_taken() -> None:
    queue = filled([5, 6])
    other = "s"
    queue.add(Item(7, 9, 0, [0] * 7, other))

    queue.drop("r")

    assert [item.request for item in queue.take(512)] == ["s"]
    assert not queue


@given(st.lists(st.integers(1, 256), max_size=80), st.integers(1, 600))
def test_every_text_is_taken_once_within_the_bound_and_the_oldest_first(
    lengths: list[int], bound: int
) -> None:
    queue = filled(lengths)
    left = set(range(len(lengths)))

    while queue:
        assert queue.oldest == min(left)
        batch = queue.take(bound)
        numbers = {item.number for item in batch}
        assert min(left) in numbers
        assert numbers <= left
        assert len(batch) == 1 or max(i.length for i in batch) * len(batch) <= bound
        left -= numbers
    assert not left


def test_one_question_does_not_wait_for_another_users_backlog() -> None:
    queue: LengthQueue[str] = LengthQueue()
    for number in range(1000):
        queue.add(Item(100, number, 0, None, "backlog", user=1))
    queue.take(200)
    queue.add(Item(10, 2000, 0, None, "question", user=2))

    # The newcomer is level with the least served, so the older input may go first, once.
    batches = [queue.take(200) for _ in range(2)]

    assert any(item.request == "question" for batch in batches for item in batch)


def test_users_who_wait_get_equal_cost_whatever_they_queued() -> None:
    queue: LengthQueue[str] = LengthQueue()
    number = 0
    for user, length, count in ((1, 10, 900), (2, 100, 90)):
        for _ in range(count):
            number += 1
            queue.add(Item(length, number, 0, None, "r", user=user))
    served = {1: 0, 2: 0}
    while sum(served.values()) < 9000:
        for item in queue.take(100):
            served[item.user] += item.length

    assert abs(served[1] - served[2]) <= 200
