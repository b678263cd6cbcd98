"""The service over a real file and an honest event list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.event_figures import EventFigures
from waiting import until_on_loop

from stackctl.contracts.event import Event
from stackctl.contracts.insight import Mute
from stackctl.errors import Failed, Invalid, NotFound, StoreCorrupt
from stackctl.settings import InsightsSettings
from stackctl_daemon.insights import engine
from stackctl_daemon.insights.finding import MINUTE_US, Finding
from stackctl_daemon.insights.service import InsightService

NOW = 29_000_160 * MINUTE_US


class Clock:
    """Sleeps end when the test says so."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.wake = asyncio.Event()

    def monotonic_s(self) -> float:
        return 0.0

    def utc(self) -> str:
        return ""

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        await self.wake.wait()
        self.wake.clear()


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, events: Sequence[Event]) -> None:
        self.events += events

    def emit(self, event: Event) -> None:
        self.events.append(event)


def crashes(ago: Sequence[int]) -> list[Event]:
    beats = [
        Event(id=f"b{n}", kind="container", name="engine.health", time_us=NOW - n * MINUTE_US - 1)
        for n in range(300)
    ]
    return beats + [
        Event(
            id=f"c{n}",
            kind="container",
            name="gateway",
            outcome="error",
            error_code="exited",
            time_us=NOW - n * MINUTE_US - 1,
        )
        for n in ago
    ]


class Stage:
    """A service with its surroundings; time stands until it is moved."""

    def __init__(self, directory: Path, interval_s: float = 0.0) -> None:
        self.now_us = NOW
        self.figures = EventFigures(crashes([2, 5, 9, 14]))
        self.clock, self.sink = Clock(), Sink()
        self.service = InsightService(
            InsightsSettings(interval_s=interval_s),
            directory,
            self.figures,
            self.sink,
            clock=self.clock,
            now_us=lambda: self.now_us,
        )


def test_a_check_finds_keeps_and_finds_again_after_a_restart(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        [found] = (await stage.service.check()).items
        await stage.service.close()

        again = Stage(tmp_path)
        await again.service.start()
        assert again.service.list("open").items == [found]
        assert again.service.list("open").checked_us == NOW
        [same] = (await again.service.check()).items
        await again.service.close()

        assert (found.kind, found.subject) == ("crash-loop", {"name": "gateway"})
        assert same.id == found.id

    asyncio.run(go())


def test_an_incident_is_resolved_when_it_is_over(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        await stage.service.check()
        for minutes in range(1, 60):
            stage.now_us = NOW + minutes * MINUTE_US
            await stage.service.check()
        assert stage.service.list("open").items == []
        [over] = stage.service.list("resolved").items
        assert 15 * MINUTE_US <= over.resolved_us - over.seen_us <= 17 * MINUTE_US
        await stage.service.close()

    asyncio.run(go())


def test_where_nothing_is_new_one_question_is_asked(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        await stage.service.check()
        before = len(stage.figures.asked)
        stage.now_us += MINUTE_US
        await stage.service.check()
        assert len(stage.figures.asked) == before + 1
        await stage.service.check()  # within the same minute
        assert len(stage.figures.asked) == before + 1
        await stage.service.close()

    asyncio.run(go())


def test_a_store_that_cannot_answer_is_told_and_forgotten_when_it_can(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        stage.figures.failure = Failed("the store is closed")
        told = await stage.service.check()
        assert told.problem == "the store is closed"
        assert stage.service.health().state == "degraded"
        stage.figures.failure = None
        assert (await stage.service.check()).problem == ""
        assert stage.service.health().state == "ready"
        await stage.service.close()

    asyncio.run(go())


def test_it_checks_each_interval_and_leaves_metrics(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path, interval_s=60.0)
        await stage.service.start()
        async with asyncio.timeout(30):
            while not stage.clock.slept:
                await asyncio.sleep(0)
            stage.clock.wake.set()
            while len(stage.clock.slept) < 2:
                await asyncio.sleep(0.01)
        await stage.service.close()

        assert stage.clock.slept == [60.0, 60.0]
        values = {event.name: event.attributes["value"] for event in stage.sink.events}
        assert values["disk.free_bytes"] > 0
        assert values["process.memory_bytes"] > 1_000_000
        assert len(stage.service.list("open").items) == 1

    asyncio.run(go())


def test_muting_takes_an_insight_from_the_open_ones_and_survives(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        [found] = (await stage.service.check()).items
        await stage.service.mute(found.id[:14], Mute(reason="planned"))
        assert (await stage.service.check()).items == []
        await stage.service.close()

        again = Stage(tmp_path)
        await again.service.start()
        [muted] = again.service.list("muted").items
        assert muted.muted_reason == "planned"
        assert (await again.service.unmute(found.id)).state == "open"
        await again.service.close()

    asyncio.run(go())


def test_unknown_ids_and_states_are_named(tmp_path: Path) -> None:
    async def go() -> None:
        stage = Stage(tmp_path)
        await stage.service.start()
        with pytest.raises(NotFound, match='insight "x" not found'):
            stage.service.get("x")
        with pytest.raises(Invalid, match="expected one of: open"):
            stage.service.list("closed")
        await stage.service.close()

    asyncio.run(go())


def test_repair_sets_a_damaged_file_aside(tmp_path: Path) -> None:
    async def go() -> None:
        (tmp_path / "insights.db").write_bytes(b"no database" * 1000)
        stage = Stage(tmp_path)
        with pytest.raises(StoreCorrupt):
            await stage.service.start()
        actions = await stage.service.repair()
        assert any("insights.db" in action for action in actions)
        await stage.service.start()
        assert await stage.service.repair() == []
        await stage.service.close()

    asyncio.run(go())


def test_a_look_that_fails_is_told_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[Finding]:
        raise ValueError("a bug")

    async def go() -> None:
        stage = Stage(tmp_path, interval_s=60.0)
        await stage.service.start()
        with monkeypatch.context() as patch:
            patch.setattr(engine, "find", broken)
            stage.clock.wake.set()
            await until_on_loop(lambda: stage.service.health().state == "degraded")
        await stage.service.check()  # nothing new: what failed is not looked at again
        assert "a bug" in stage.service.health().reason

        stage.now_us += MINUTE_US
        stage.clock.wake.set()
        await until_on_loop(lambda: stage.service.health().state == "ready")
        await stage.service.close()

    asyncio.run(go())
