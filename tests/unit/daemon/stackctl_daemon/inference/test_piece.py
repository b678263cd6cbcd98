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
    for held in pieces.due():
        pieces.back(held)
    pieces.add(piece(9))
    order = []
    while pieces:
        [alone] = pieces.due()
        assert pieces.due() == []
        order.append(alone.id)
        pieces.pop(alone.id)

    assert order == [0, 1, 2, 9]


def test_a_suspect_waits_until_what_is_under_way_ended() -> None:
    pieces = filled(2)
    first, second = pieces.due()
    pieces.back(first)

    assert pieces.due() == []
    pieces.pop(second.id)
    assert pieces.due() == [first]
