from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from stackctl.errors import Failed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import HeldModels


def version(number: int) -> wire.Load:
    return wire.Load(
        key=f"m@{number}",
        name="m",
        adapter="tensor-graph",
        directory="",
        graph="",
        tokenizer="",
        max_tokens=0,
        dimensions=0,
        options={},
    )


def running(told: list[wire.Command]) -> Callable[[wire.Command], bool]:
    """Take commands as a process that runs."""

    def write(command: wire.Command) -> bool:
        told.append(command)
        return True

    return write


def test_a_version_that_comes_back_is_loaded_again() -> None:
    told: list[wire.Command] = []
    held = HeldModels(
        "cpu:0", write=running(told), on_fault=lambda text: None, on_loaded=lambda model: None
    )

    def ask_for(number: int) -> None:
        held.want(version(number))
        held.send_wanted()

    def opened(number: int) -> None:
        held.hear(wire.Loaded(f"m@{number}", "m", "CPUExecutionProvider", 0.0, 0))

    ask_for(1)
    opened(1)
    ask_for(2)
    held.hear(wire.Unloaded("m@1", "m", 0))  # it made way, unasked
    opened(2)
    ask_for(1)
    held.hear(wire.Unloaded("m@2", "m", 0))
    opened(1)

    assert [load.key for load in told if isinstance(load, wire.Load)] == ["m@1", "m@2", "m@1"]
    assert list(held.open) == ["m@1"]


def test_a_version_that_a_waiting_request_brought_back_lets_the_other_be_told_again() -> None:
    told: list[wire.Command] = []
    held = HeldModels(
        "cpu:0", write=running(told), on_fault=lambda text: None, on_loaded=lambda model: None
    )
    held.want(version(2))
    held.send_wanted()
    held.send(version(1))  # of a request from before the switch
    held.hear(wire.Unloaded("m@2", "m", 0))
    held.send_wanted()

    assert [load.key for load in told if isinstance(load, wire.Load)] == ["m@2", "m@1", "m@2"]


def changing() -> tuple[HeldModels, list[wire.Command]]:
    told: list[wire.Command] = []
    held = HeldModels(
        "cpu:0", write=running(told), on_fault=lambda text: None, on_loaded=lambda model: None
    )
    held.want(version(1))
    held.send_wanted()
    held.hear(wire.Loaded("m@1", "m", "CPUExecutionProvider", 0.0, 0))
    return held, told


def test_other_terms_are_told_and_waited_for() -> None:
    async def run() -> None:
        held, told = changing()
        more = msgspec.structs.replace(version(1), replicas=4)
        held.change(more)
        waiting = asyncio.ensure_future(held.changed(more))
        await asyncio.sleep(0)
        assert told[-1] is more
        assert held.open["m@1"].load.replicas == 1
        held.hear(wire.Loaded("m@1", "m", "CPUExecutionProvider", 0.0, 0, replicas=4))
        await waiting
        assert held.open["m@1"].load is more

    asyncio.run(run())


def test_terms_that_cannot_be_had_leave_those_before() -> None:
    async def run() -> None:
        held, _ = changing()
        more = msgspec.structs.replace(version(1), replicas=4)
        held.change(more)
        waiting = asyncio.ensure_future(held.changed(more))
        await asyncio.sleep(0)
        held.hear(wire.LoadFailed("m@1", "m", "no memory", kept=True))
        with pytest.raises(Failed, match="cpu:0: no memory"):
            await waiting
        assert held.wanted["m@1"].replicas == held.open["m@1"].load.replicas == 1

    asyncio.run(run())


def test_a_worker_that_died_meanwhile_opens_the_model_on_the_new_terms() -> None:
    async def run() -> None:
        held, told = changing()
        more = msgspec.structs.replace(version(1), replicas=4)
        held.change(more)
        waiting = asyncio.ensure_future(held.changed(more))
        await asyncio.sleep(0)
        held.ended(died=True)
        held.send_wanted()
        assert told[-1] is more
        held.hear(wire.Loaded("m@1", "m", "CPUExecutionProvider", 0.0, 0, replicas=4))
        await waiting

    asyncio.run(run())


def test_a_model_is_opened_with_the_budget_that_was_measured_before() -> None:
    told: list[wire.Command] = []
    held = HeldModels(
        "cpu:0", write=running(told), on_fault=lambda text: None, on_loaded=lambda model: None
    )
    held.want(version(1))
    held.hear(wire.Loaded("m@1", "m", "CPUExecutionProvider", 0.0, 0))
    held.hear(wire.Tuned("m@1", [], 512))
    held.ended(died=True)
    held.send_wanted()

    assert [load.budget for load in told if isinstance(load, wire.Load)] == [512]


def test_who_waits_for_a_model_that_is_closed_is_not_told_of_an_earlier_fault() -> None:
    async def body() -> None:
        held = HeldModels(
            "cpu:0",
            write=lambda command: True,
            on_fault=lambda text: None,
            on_loaded=lambda model: None,
        )
        held.want(version(1))
        held.hear(wire.LoadFailed("m@1", "m", "its file is damaged"))
        held.want(version(1))
        waiting = asyncio.ensure_future(held.opened("m@1"))
        await asyncio.sleep(0)  # it waits now
        await held.unload("m@1")

        with pytest.raises(Failed, match="closed again"):
            await waiting

    asyncio.run(body())
