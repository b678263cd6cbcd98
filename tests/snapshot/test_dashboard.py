"""What each screen of the dashboard shows, as text; ``SNAPSHOT_UPDATE=1`` writes it anew.

Look at the difference before it is committed: it is what people will see.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from control_server import STATUS, ControlServer, error
from dashboard import Clock, once, opened, served, until, until_shown

from stackctl.tui.app import screen_text
from stackctl.tui.bindings import PAGES

FOLDER = Path(__file__).parent / "dashboard"
SIZES = [(80, 24), (140, 45)]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every clock as in Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def compare(name: str, text: str) -> None:
    """Hold a screen to its file.

    The end of a scroll bar's thumb is left out: it depends on when the table was measured.
    """
    text = re.sub("[▁▂▃▄▅▆▇█]{2}│$", "  │", text, flags=re.M)
    file = FOLDER / f"{name}.txt"
    if os.environ.get("SNAPSHOT_UPDATE"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"SNAPSHOT_UPDATE=1 writes {file.name} anew"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("page", [page for page in PAGES if page != "logs"])
def test_screen_with_data(own_home: Path, page: str, size: tuple[int, int]) -> None:
    with served(own_home):
        text = once(page, size)

    lines = text.splitlines()
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    compare(f"{page}-{size[0]}x{size[1]}", text)


@pytest.mark.parametrize("page", ["overview", "devices", "models", "requests", "jobs", "insights"])
def test_screen_of_an_empty_daemon(own_home: Path, page: str) -> None:
    with served(own_home) as server:
        empty = {"items": [], "problems": [], "workers": [], "next_seq": -1, "checked_us": 1,
                 "problem": ""}  # fmt: skip
        for (method, path), _ in list(server.routes.items()):
            if method == "GET" and path != "/v1/status":
                server.routes[method, path] = empty
        server.routes["GET", "/v1/status"] = STATUS | {"devices": [], "areas": []}
        server.routes["POST", "/v1/analytics/query"] = lambda body: {
            "columns": [{"name": name, "role": "time" if name == "time" else "measure"}
                        for name in ("time", *body["measures"])],
            "rows": [],
        }  # fmt: skip
        compare(f"{page}-empty", once(page, (80, 24)))


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ("logs", "containers", "sql")])
def test_screen_of_a_daemon_that_refuses(own_home: Path, page: str) -> None:
    with served(own_home) as server:
        refusal = (503, error("store_corrupt", "the store is damaged", "stackctl doctor --fix"))
        for key in list(server.routes):
            server.routes[key] = refusal
        text = once(page, (80, 24))

    assert "fix: stackctl doctor --fix" in text
    compare(f"{page}-error", text)


def test_screen_that_waits_says_that_it_is_loading(own_home: Path) -> None:
    async def look() -> str:
        async with opened() as (board, pilot):
            board.paused = True
            await until(pilot, lambda: not board._asking)  # answers under way would be shown
            board.page().forget()  # type: ignore[union-attr]  # a screen is open
            board.refresh_bar()
            await until(pilot, lambda: screen_text(board).count("loading ...") == 6)
            return screen_text(board)

    with served(own_home):
        text = asyncio.run(look())

    assert text.count("loading ...") == 6
    compare("overview-loading", text)


def test_screen_stays_and_says_how_stale_it_is_while_the_daemon_is_gone(own_home: Path) -> None:
    async def look(server: ControlServer) -> str:
        clock = Clock()
        async with opened(clock=clock) as (board, pilot):
            server.path.rename(server.path.with_suffix(".gone"))
            clock.now_s += 75
            await until(pilot, lambda: board.gone is not None)
            text = await until_shown(pilot, "STALE for 1 min")
            server.path.with_suffix(".gone").rename(server.path)
            return text

    with served(own_home) as server:
        text = asyncio.run(look(server))

    assert "31 of 40 requests" in text
    assert "stale since 10:00:00" in text


def test_help_lists_the_keys_of_the_screen_first(own_home: Path) -> None:
    async def look() -> str:
        async with opened("models", size=(100, 40)) as (_, pilot):
            await pilot.press("question_mark")
            return await until_shown(pilot, "Load the model")

    with served(own_home):
        compare("help-models", asyncio.run(look()))


def test_trace_shows_when_each_part_of_a_request_ran(own_home: Path) -> None:
    async def look() -> str:
        async with opened("requests", size=(100, 30)) as (_, pilot):
            await until_shown(pilot, "models.run")
            await pilot.press("enter")
            return await until_shown(pilot, "2 events")

    with served(own_home):
        compare("trace", asyncio.run(look()))
