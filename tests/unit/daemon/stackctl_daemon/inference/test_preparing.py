"""Inputs made ready by a thread beside the one that reads commands; jobs here decode nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import Failed, Invalid, TimedOut
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Unit
from stackctl_daemon.inference.crew import wait
from stackctl_daemon.inference.preparing import Preparing
from stackctl_daemon.inference.worker_state import Model, Pending

WAIT_S = 20.0


class Desk:
    """The thread that reads commands, as far as this goes."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.ended: list[int] = []
        self.units: dict[int, list[Unit]] = {}
        self.errors: dict[int, Exception] = {}
        self.signs: list[wire.Report] = []
        self.late_s = 0.0
        self.models: dict[str, Model] = {}
        self.preparing = Preparing(
            alive=lambda request: request.command.id in self.alive,
            ready=self._ready,
            give_up=self._give_up,
            send=self.signs.append,
            batch_share=0.1,
            clock=lambda: time.monotonic() + self.late_s,
        )

    def ask(
        self, number: int, steps: Iterator[Unit | None], *, model: str = "m", deadline: float = 0.0
    ) -> Pending:
        load = wire.Load(model, model, "voice-activity", str(Path.cwd()), "", "", 8, 8)
        held = self.models.setdefault(model, Model(load, None))
        command = wire.Run(number, model, "interactive", blobs=[1], deadline=deadline)
        request = Pending(command, held, time.monotonic())
        self.alive.add(number)
        self.preparing.add(request, steps)
        return request

    def until(self, *numbers: int) -> None:
        end = time.monotonic() + WAIT_S
        while not set(numbers) <= set(self.ended):
            assert time.monotonic() < end
            self.preparing.turn()
            wait(self.preparing, timeout_s=0.1)

    def rest(self) -> None:
        end = time.monotonic() + WAIT_S
        while self.preparing.busy:
            assert time.monotonic() < end
            self.preparing.turn()

    def _ready(self, request: Pending, units: list[Unit]) -> None:
        self.units[request.command.id] = units
        self._end(request)

    def _give_up(self, request: Pending, err: Exception) -> None:
        self.errors[request.command.id] = err
        self._end(request)

    def _end(self, request: Pending) -> None:
        self.alive.discard(request.command.id)
        self.ended.append(request.command.id)


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.preparing.close()


def units(*costs: int) -> Iterator[Unit | None]:
    for cost in costs:
        yield None
        yield Unit(cost, None)


def endless(ended: threading.Event) -> Iterator[Unit | None]:
    """Steps until it is told to end."""
    while not ended.is_set():
        yield None
    yield Unit(1, None)


def test_units_come_in_order(desk: Desk) -> None:
    request = desk.ask(1, units(3, 1, 2))
    assert not request.model.idle
    assert desk.preparing.busy

    desk.until(1)

    assert [unit.cost for unit in desk.units[1]] == [3, 1, 2]
    assert request.model.idle
    desk.rest()


@pytest.mark.parametrize("model", ["m", "other"])
def test_a_short_one_is_not_behind_long_ones(desk: Desk, model: str) -> None:
    ended = threading.Event()
    for number in (1, 2, 3):
        desk.ask(number, endless(ended))
    desk.ask(4, units(1), model=model)

    desk.until(4)

    assert desk.ended == [4]
    assert desk.signs
    assert {type(sign) for sign in desk.signs} == {wire.Preparing}
    ended.set()
    desk.until(1, 2, 3)


def test_short_ones_are_made_ready_together(desk: Desk) -> None:
    """The one who computes looks in between two batches, and a batch wants more than one."""
    last = threading.Event()

    def telling() -> Iterator[Unit | None]:
        last.set()
        yield Unit(1, None)

    for number in range(8):
        desk.ask(number, units(1))
    desk.ask(8, telling())

    desk.preparing.turn()

    assert last.wait(WAIT_S), "it waits for another turn"
    desk.until(*range(9))
    assert desk.ended == list(range(9))


def test_all_of_many_long_ones_come_on(desk: Desk) -> None:
    """More than a round has time for."""
    ended = threading.Event()
    begun: set[int] = set()

    def long(number: int) -> Iterator[Unit | None]:
        begun.add(number)
        yield from endless(ended)

    for number in range(12):
        desk.ask(number, long(number))
    end = time.monotonic() + WAIT_S
    while len(begun) < 12:
        assert time.monotonic() < end
        desk.preparing.turn()
        wait(desk.preparing, timeout_s=0.1)

    assert not desk.ended
    ended.set()
    desk.until(*range(12))


def test_what_is_wrong_with_an_input_is_told(desk: Desk) -> None:
    def broken() -> Iterator[Unit | None]:
        yield None
        raise Invalid("no sound")

    desk.ask(1, broken())
    desk.ask(2, units(1))

    desk.until(1, 2)

    assert str(desk.errors[1]) == "no sound"
    assert desk.models["m"].idle


def test_whoever_leaves_is_not_decoded_for(desk: Desk) -> None:
    begun, never = threading.Event(), threading.Event()

    def first() -> Iterator[Unit | None]:
        begun.set()
        yield from endless(never)

    def second() -> Iterator[Unit | None]:
        raise AssertionError("it was forgotten before its turn")
        yield None

    running, waiting = desk.ask(1, first()), desk.ask(2, second())
    desk.preparing.turn()
    assert begun.wait(WAIT_S)
    for request in (running, waiting):
        desk.alive.discard(request.command.id)
        desk.preparing.forget(request)
    assert not running.model.idle, "a slice of it runs"

    desk.rest()

    assert running.model.idle
    assert not desk.ended
    desk.ask(3, units(1))
    desk.until(3)


def test_one_whose_time_is_over_is_refused_before_or_between_slices(desk: Desk) -> None:
    never = threading.Event()
    desk.ask(1, endless(never), deadline=time.monotonic() + 1_000)
    desk.ask(2, units(1), deadline=1e-9)
    desk.until(2)
    assert isinstance(desk.errors[2], TimedOut)

    desk.late_s = 2_000
    desk.until(1)

    assert isinstance(desk.errors[1], TimedOut)
    assert desk.models["m"].idle


def test_a_step_that_does_not_end_costs_the_worker_and_only_its_request(desk: Desk) -> None:
    ended = threading.Event()

    def stuck() -> Iterator[Unit | None]:
        ended.wait(WAIT_S)
        yield None

    desk.ask(1, stuck())
    desk.ask(2, units(1))
    desk.preparing.turn()
    for _ in range(58):
        desk.late_s += 5  # a process that was stopped for five seconds looks again
        desk.preparing.turn()
    assert not desk.ended

    with pytest.raises(Failed, match="m: reading input 0 does not end"):
        for _ in range(5):
            desk.late_s += 1
            desk.preparing.turn()

    assert desk.ended == [1]
    assert not desk.signs
    ended.set()


def test_nothing_is_polled_for_without_work(desk: Desk) -> None:
    desk.ask(1, units(1))
    desk.rest()

    assert not wait(desk.preparing, timeout_s=0)
