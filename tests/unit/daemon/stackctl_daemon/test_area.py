from __future__ import annotations

import asyncio
import logging

import pytest

from stackctl.contracts.system import AreaHealth
from stackctl.errors import Conflict, Overloaded, StoreCorrupt
from stackctl_daemon import area as areas
from stackctl_daemon.area import Area, AreaSink
from stackctl_daemon.events import new_event
from stackctl_daemon.http.registry import Reply, Request, Route

REQUEST = Request("r", "GET", "/v1/x", {}, {}, None, 0)


class Store:
    """A store that opens once it was repaired."""

    def __init__(self) -> None:
        self.sound = False

    async def open(self) -> None:
        if not self.sound:
            raise StoreCorrupt("page 7 is torn", hint="stackctl doctor --repair")

    async def repair(self) -> list[str]:
        self.sound = True
        return ["rebuilt page 7"]


async def _answer(request: Request) -> Reply:
    return Reply("answer")


def test_a_degraded_area_answers_its_error_until_it_is_repaired() -> None:
    async def test() -> None:
        store = Store()
        area = Area("search", on_start=store.open, on_repair=store.repair)
        [route] = area.guard([Route("x.get", "GET", "/v1/x", "read", _answer, "")])
        assert (await area.health()).state == "off"

        await area.start()

        found = await area.health()
        assert (found.state, found.reason) == ("degraded", "page 7 is torn")
        raised = []
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match="page 7") as caught:
                await route.handler(REQUEST)
            raised.append(caught.value)
        # Each request has its own: a shared one would gather the tracebacks of all.
        assert raised[0] is not raised[1]
        assert raised[0].hint == "stackctl doctor --repair"
        assert await area.repair() == ["rebuilt page 7", "started search"]
        assert (await route.handler(REQUEST)).body == "answer"
        assert (await area.health()).state == "ready"
        assert await area.repair() == ["rebuilt page 7"]

    asyncio.run(test())


def test_a_repair_that_did_not_help_says_what_is_still_wrong() -> None:
    async def test() -> None:
        store = Store()

        async def in_vain() -> list[str]:
            return ["tried"]

        area = Area("search", on_start=store.open, on_repair=in_vain)
        await area.start()

        with pytest.raises(StoreCorrupt, match="page 7"):
            await area.repair()
        assert (await area.health()).state == "degraded"

    asyncio.run(test())


def test_an_area_without_a_store_has_nothing_to_repair() -> None:
    with pytest.raises(Conflict, match="devices has nothing to repair"):
        asyncio.run(Area("devices").repair())


def test_health_is_asked_of_a_started_area_alone() -> None:
    async def test() -> None:
        async def later() -> AreaHealth:
            return AreaHealth(name="a", state="degraded", reason="slow")

        area = Area("a", on_health=later)
        assert (await area.health()).state == "off"
        await area.start()
        assert (await area.health()).reason == "slow"

    asyncio.run(test())


def test_closing_goes_on_past_an_area_that_hangs_or_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(areas, "CLOSE_TIMEOUT_S", 0.05)

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise RuntimeError("torn")

    async def test() -> None:
        never_started = Area("c", on_close=fail)
        await never_started.close()
        assert caplog.records == []
        for area in (Area("a", on_close=hang), Area("b", on_close=fail)):
            await area.start()
            await area.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(asyncio.wait_for(test(), 10))

    assert [record.getMessage() for record in caplog.records] == [
        "area_not_closed area=a error=TimeoutError()",
        "area_not_closed area=b error=RuntimeError('torn')",
    ]


def test_events_of_a_degraded_store_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Kept:
        def __init__(self) -> None:
            self.names: list[str] = []

        async def record(self, events: object) -> None:
            self.names.append("recorded")

        def emit(self, event: object) -> None:
            self.names.append("emitted")

    async def test() -> None:
        area, kept = Area("analytics"), Kept()
        sink = AreaSink(area, kept)
        event = new_event("request", "thing.get")
        sink.emit(event)
        await sink.record([event])
        assert kept.names == []
        await area.start()
        sink.emit(event)
        await sink.record([event])
        assert kept.names == ["emitted", "recorded"]
        area.error = Overloaded("full", retry_after_s=1.0)
        sink.emit(event)
        assert len(kept.names) == 2

    with caplog.at_level(logging.INFO):
        asyncio.run(test())

    assert [r.getMessage().split(" ")[0] for r in caplog.records] == ["event"] * 3
