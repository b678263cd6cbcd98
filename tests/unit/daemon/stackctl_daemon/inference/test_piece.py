from __future__ import annotations

import asyncio

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.piece import Piece, Pieces

LOAD = wire.Load("m@1", "m", "text-embedding", "/m", "", "", 8, 8)


def piece(number: int, *, weight: int = 10) -> Piece:
    answer: asyncio.Future[tuple[wire.Answer, bytes]] = asyncio.Future(loop=LOOP)
    return Piece(LOAD, {}, b"", 2, "interactive", weight, answer, id=number)


LOOP = asyncio.new_event_loop()


def teardown_module() -> None:
    LOOP.close()


def filled(count: int) -> Pieces:
    pieces = Pieces()
    for number in range(count):
        pieces.add(piece(number))
    return pieces


def test_everything_is_issued_once() -> None:
    pieces = filled(3)

    assert [p.id for p in pieces.due()] == [0, 1, 2]
    assert pieces.due() == []


def test_what_is_held_is_counted_until_it_goes() -> None:
    pieces = filled(3)
    pieces.pop(1)
    pieces.pop(1)

    assert (pieces.weight, pieces.inputs, [p.id for p in pieces]) == (20, 4, [0, 2])


def test_those_that_saw_a_death_go_in_alone_and_others_wait_for_them() -> None:
    pieces = filled(3)
    assert len(pieces.due()) == 3
    assert pieces.died("cpu:0", "SIGKILL", 0.0) == []
    pieces.add(piece(9))
    order = []
    while pieces:
        [alone] = pieces.due()
        assert pieces.due() == []
        order.append(alone.id)
        pieces.pop(alone.id)

    assert order == [0, 1, 2, 9]


def test_a_suspect_waits_until_what_is_under_way_ended() -> None:
    pieces = filled(1)
    [first] = pieces.due()
    pieces.died("cpu:0", "SIGKILL", 0.0)
    second = piece(1)
    pieces.add(second)

    assert pieces.due() == [first]
    assert pieces.due() == []
    pieces.pop(first.id)
    assert pieces.due() == [second]


def test_a_request_is_given_up_after_three_deaths() -> None:
    pieces = filled(1)
    for _ in range(2):
        pieces.due()
        assert pieces.died("cpu:0", "SIGKILL", 0.0) == []
    pieces.due()

    [(held, error)] = pieces.died("cpu:0", "SIGSEGV", 0.0)

    assert held.id == 0
    assert error.message == (
        "3 workers of cpu:0 died on a request of 2 inputs, the last by SIGSEGV"
    )
    assert not pieces


def test_a_request_that_silenced_its_worker_is_tried_once_more_alone() -> None:
    """Every try takes the device away from everybody for as long as silence is borne."""
    pieces = filled(3)
    pieces.due()
    assert pieces.died("cpu:0", "SIGKILL", 8.2) == []
    [alone] = pieces.due()

    [(held, error)] = pieces.died("cpu:0", "SIGKILL", 8.4)

    assert held is alone
    assert error.message == (
        "2 workers of cpu:0 died on a request of 2 inputs, the last killed after 8 s without a"
        " sign of life"
    )
    assert [p.id for p in pieces] == [1, 2]
