"""Rounds of questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from control_server import ControlServer, script

from stackctl.errors import Failed, NotFound, StackctlError, Unreachable
from stackctl.tui import launch
from stackctl.tui.frame import Frame
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need, ask, guarded

FRAME = Frame(1)


def test_each_need_gets_its_answer_or_its_error(own_home: Path) -> None:
    needs = [
        Need("devices", lambda client, frame: client.devices.list()),
        Need("insights", lambda client, frame: client.insights.list()),
    ]
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        answers = ask(launch.client(), needs, FRAME)

    assert answers["devices"].items[0].id == "cpu:0"
    assert isinstance(answers["insights"], NotFound)
    assert answers["insights"].hint == "stackctl down && stackctl up"


def test_a_daemon_that_is_gone_is_asked_once() -> None:
    asked = []

    def refuse(client: Any, frame: Frame) -> None:
        asked.append(frame)
        raise Unreachable("gone")

    answers = ask(launch.client(), [Need("a", refuse), Need("b", refuse)], FRAME)

    assert len(asked) == 1
    assert all(isinstance(answer, Unreachable) for answer in answers.values())


@pytest.mark.parametrize("broken", [AttributeError("x"), KeyError("x"), TypeError("x")])
def test_an_answer_of_another_shape_is_an_error_and_no_crash(broken: Exception) -> None:
    def call() -> None:
        raise broken

    found = guarded(call)

    assert isinstance(found, Failed)
    assert "another shape" in found.message


def test_a_broken_socket_is_an_unreachable_daemon() -> None:
    def call() -> None:
        raise BrokenPipeError("broken")

    assert isinstance(guarded(call), Unreachable)


def test_an_error_keeps_the_last_value_and_its_time() -> None:
    slot = Slot().after("v", 5.0).after(StackctlError("late"), 9.0)

    assert (slot.value, slot.at) == ("v", 5.0)
    assert slot.error is not None
    assert slot.after("w", 11.0) == Slot("w", 11.0)
