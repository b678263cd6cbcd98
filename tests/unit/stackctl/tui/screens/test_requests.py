"""The tail of events: it grows, is filtered, and leaves those out who watch."""

from __future__ import annotations

from typing import Any

from control_server import ControlServer
from dashboard import Run, opened, until, until_shown
from dashboard_server import event

from stackctl.tui.app import screen_text


def test_the_tail_grows_and_keeps_the_selection(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        tail = "/v1/analytics/events?after_seq={}&limit=200&kind=request"
        async with opened("requests") as (board, pilot):
            await until_shown(pilot, "models.run")
            await pilot.press("down")
            server.routes["GET", tail.format(42)] = {"items": [], "next_seq": 42}
            server.routes["GET", tail.format(41)] = {
                "items": [event(42, name="newest")], "next_seq": 42,
            }  # fmt: skip
            await until_shown(pilot, "newest")
            listing: Any = board.page().first()  # type: ignore[union-attr]
            assert listing.selected.event.id == "e40"
            assert listing.items[0].event.name == "newest"

    run(test)


def test_the_dashboards_own_requests_are_hidden_until_asked_for(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        tail = "/v1/analytics/events?after_seq={}&limit=200&kind=request"
        own = event(42, name="analytics.events")
        server.routes["GET", tail.format(41)] = {"items": [own], "next_seq": 42}
        server.routes["GET", tail.format(42)] = {"items": [], "next_seq": 42}
        async with opened("requests") as (board, pilot):
            await until(pilot, lambda: any("after_seq=42" in p for _, p, _ in server.seen))
            assert "analytics.events" not in screen_text(board)
            await pilot.press("o")
            await until_shown(pilot, "analytics.events")

    run(test)


def test_a_filter_keeps_what_has_all_its_words(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("requests") as (board, pilot):
            await until_shown(pilot, "models.run")
            await pilot.press("slash", *"error 1001", "enter")
            listing: Any = board.page().first()  # type: ignore[union-attr]
            await until(pilot, lambda: [i.event.id for i in listing.items] == ["e40"])
            await pilot.press("escape")
            await until(pilot, lambda: len(listing.items) == 41)

    run(test)
