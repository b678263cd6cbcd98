from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference.batching import Item, LengthQueue, batch_cost


def filled(lengths: list[int], request: str = "r", *, packed: bool = False) -> LengthQueue[str]:
    queue: LengthQueue[str] = LengthQueue(packed=packed)
    for number, length in enumerate(lengths):
        queue.add(Item(length, number, number, [0] * length, request))
    return queue


def test_like_lengths_go_together_around_the_oldest() -> None:
    queue = filled([10, 200, 11, 9, 190, 10, 250])

    first = queue.take(512)
    second = queue.take(512)

    assert [item.length for item in first] == [9, 10, 10, 11]
    assert [item.length for item in second] == [190, 200]
    assert [item.length for item in queue.take(512)] == [250]


def test_a_batch_that_would_leave_nobody_is_taken_in_halves() -> None:
    queue = filled([16] * 20)

    sizes = [len(queue.take(512)) for _ in range(2)]

    assert sizes == [10, 10]


def test_what_is_too_little_to_halve_is_taken_whole() -> None:
    assert len(filled([16] * 8).take(512)) == 8


def test_a_text_above_the_bound_goes_alone() -> None:
    queue = filled([600, 3])

    assert [item.length for item in queue.take(512)] == [600]


def test_a_graph_that_packs_takes_like_lengths_as_they_came() -> None:
    queue = filled([18, 14, 17, 16, 15, 18, 14, 30], packed=True)

    first = queue.take(18 + 14 + 17 + 16 + 4)

    assert [item.number for item in first] == [0, 1, 2, 3]


def test_a_graph_that_packs_counts_tokens_not_padding() -> None:
    waiting = [16] * 30 + [20] * 2 + [250]
    padded = filled(waiting).take(512)
    packed = filled(waiting, packed=True).take(520 + 32)

    assert len(padded) == 30  # 32 of 20 would be 640
    assert len(packed) == 32


def test_a_long_text_is_not_put_among_many_short_ones_by_a_graph_that_packs() -> None:
    queue = filled([16, 250] + [16] * 20, packed=True)

    first = queue.take(512)

    assert {item.length for item in first} == {16}
    assert queue.take(512)[0].length == 250


def test_attention_is_what_a_batch_that_packs_pays_for_its_longest() -> None:
    assert batch_cost(8, 200, 488, packed=True) == 488 + 320
    assert batch_cost(8, 200, 488, packed=False) == 1600


def test_dropped_request_is_never_taken() -> None:
    queue = filled([5, 6])
    other = "s"
    queue.add(Item(7, 9, 0, [0] * 7, other))

    queue.drop("r")

    assert [item.request for item in queue.take(512)] == ["s"]
    assert not queue


@given(st.lists(st.integers(1, 256), max_size=80), st.integers(1, 600), st.booleans())
def test_every_text_is_taken_once_within_the_bound_and_the_oldest_first(
    lengths: list[int], bound: int, packed: bool
) -> None:
    queue = filled(lengths, packed=packed)
    left = set(range(len(lengths)))

    while queue:
        assert queue.oldest == min(left)
        batch = queue.take(bound)
        numbers = {item.number for item in batch}
        assert min(left) in numbers
        assert numbers <= left
        of_batch = [item.length for item in batch]
        cost = batch_cost(len(batch), max(of_batch), sum(of_batch), packed=packed)
        assert len(batch) == 1 or cost <= bound
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
