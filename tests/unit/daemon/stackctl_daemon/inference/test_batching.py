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
