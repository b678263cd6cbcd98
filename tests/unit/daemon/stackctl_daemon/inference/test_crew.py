"""Threads that compute; what they give is taken by another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stackctl_daemon.inference.crew import Crew, wait


@contextmanager
def crew(size: int) -> Iterator[tuple[Crew[str, int], socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    found: Crew[str, int] = Crew()
    found.resize(size)
    with ours, theirs:
        try:
            yield found, ours, theirs
        finally:
            found.close()


def everything(found: Crew[str, int], ours: socket.socket) -> list[tuple[str, int | None]]:
    """What jobs give until none is left."""
    taken = []
    while found.busy:
        wait(ours, found)
        taken += found.take()
    return taken


def test_pieces_come_in_order_and_the_end_after_them() -> None:
    with crew(1) as (found, ours, _):
        found.put("a", iter([1, 2]))
        found.put("b", iter([3]))
        assert not found.free

        assert everything(found, ours) == [("a", 1), ("a", 2), ("a", None), ("b", 3), ("b", None)]
        assert found.free


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def job() -> Iterator[int]:
        yield meeting.wait()

    with crew(3) as (found, ours, _):
        for _ in range(3):
            found.put("m", job())

        assert sorted(n for _, n in everything(found, ours) if n is not None) == [0, 1, 2]


def test_it_can_grow_while_jobs_run() -> None:
    first, second = threading.Event(), threading.Event()

    def waits() -> Iterator[int]:
        yield int(first.wait(20))

    with crew(1) as (found, ours, _):
        found.put("a", waits())
        found.resize(2)
        found.put("b", (int(first.set() or second.wait(0)) for _ in range(1)))

        assert ("a", 1) in everything(found, ours)


def test_what_ends_a_job_is_raised_where_it_is_taken() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    with crew(2) as (found, ours, _):
        found.put("a", broken())
        with pytest.raises(LookupError, match="gone"):
            everything(found, ours)
        assert found.busy == 0


def test_the_socket_ends_the_wait_too() -> None:
    with crew(1) as (found, ours, theirs):
        theirs.send(b"x")
        wait(ours, found)

        assert list(found.take()) == []
        assert ours.recv(1) == b"x"
