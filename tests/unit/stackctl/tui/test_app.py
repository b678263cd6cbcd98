"""The dashboard under keys, against a scripted daemon."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from control_server import ControlServer, job
from dashboard import Clock, Run, opened, until, until_shown
from dashboard_server import NOW_US, RUNNING

from stackctl.errors import Invalid, Unreachable
from stackctl.tui import launch
from stackctl.tui.app import Dashboard, screen_text
from stackctl.tui.bindings import PAGES


def paths(server: ControlServer) -> set[str]:
    return {path.partition("?")[0] for _, path, _ in server.seen}


def test_every_screen_opens_by_its_key(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("settings") as (board, pilot):
            for name, (key, title) in PAGES.items():
                await pilot.press(key)
                await until(pilot, lambda name=name: name == board.page().NAME)  # type: ignore[misc]
                assert f"[{'' if key == 'comma' else key}"[:1] in screen_text(board)
                assert title[:3] in screen_text(board)

    run(test)


def test_only_what_the_visible_screen_needs_is_asked(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("jobs") as (_, pilot):
            await until(pilot, lambda: len(server.seen) > 3)

    assert paths(run(test)) == {"/v1/jobs"}


def test_a_pause_asks_nothing_and_says_so(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("jobs") as (board, pilot):
            await pilot.press("p")
            await until_shown(pilot, "[paused]")
            await until(pilot, lambda: not board._asking)
            asked = len(server.seen)
            await pilot.pause(0.3)
            assert len(server.seen) == asked
            await pilot.press("p")
            await until(pilot, lambda: len(server.seen) > asked)

    run(test)


def test_time_travel_asks_for_the_range_that_is_looked_at(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened() as (_, pilot):
            await pilot.press("left_square_bracket")
            await until_shown(pilot, "(in the past)")
            asked = [body for _, path, body in server.seen if path == "/v1/analytics/query"]
            await until(pilot, lambda: _queries(server)[-1]["until_us"] != 0)
            assert _queries(server)[-1]["until_us"] == NOW_US - 1_800_000_000
            assert asked[0]["until_us"] == 0
            await pilot.press("n")
            await until(pilot, lambda: _queries(server)[-1]["until_us"] == 0)

    run(test)


def test_a_longer_range_has_longer_buckets(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened() as (_, pilot):
            await pilot.press("w")
            await until(pilot, lambda: _queries(server)[-1]["step_s"] == 300)
            await until_shown(pilot, "since 0")

    run(test)


def test_the_selected_model_is_loaded(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("models") as (_, pilot):
            await until_shown(pilot, "magika")
            await pilot.press("l")
            await until_shown(pilot, "load all-minilm-l6-v2: done")

    assert "/v1/models/all-minilm-l6-v2/load" in paths(run(test))


def test_a_running_model_is_unloaded_from_its_device(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("models") as (_, pilot):
            await until_shown(pilot, "magika")
            await pilot.press("u")
            await until_shown(pilot, "done")

    server = run(test)
    [body] = [body for _, path, body in server.seen if path.endswith("/unload")]
    assert body == {"device": RUNNING["items"][0]["device"]}  # type: ignore[index]


@pytest.mark.parametrize(("page", "key"), [("models", "l"), ("models", "u"), ("jobs", "c"),
                                           ("insights", "m"), ("insights", "u")])  # fmt: skip
def test_read_only_refuses_to_change_anything_and_says_so(run: Run, page: str, key: str) -> None:
    async def test(server: ControlServer) -> None:
        async with opened(page, read_only=True, size=(100, 30)) as (board, pilot):
            assert "[read-only]" in screen_text(board)
            await pilot.press(key)
            await until_shown(pilot, "was not done")

    assert not [path for method, path, _ in run(test).seen if method == "POST"]


def test_a_running_job_is_cancelled_and_an_ended_one_is_not(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("jobs") as (_, pilot):
            await until_shown(pilot, "running")
            await pilot.press("c")
            await until_shown(pilot, "cancel j1: done")
            server.routes["GET", "/v1/jobs"] = {"items": [job("succeeded")]}
            await until_shown(pilot, "succeeded")
            await pilot.press("c")
            await until_shown(pilot, "job j1 has succeeded already")

    server = run(test)
    assert [path for method, path, _ in server.seen if method == "POST"] == ["/v1/jobs/j1/cancel"]


def test_an_insight_is_muted_with_a_reason(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("insights") as (_, pilot):
            await until_shown(pilot, "31 of 40")
            await pilot.press("m")
            await until_shown(pilot, "Mute for a day")
            await pilot.press(*"known", "enter")
            await until_shown(pilot, "mute: done")

    [body] = [body for _, path, body in run(test).seen if path == "/v1/insights/i2/mute"]
    assert body == {"reason": "known", "for_s": 86_400.0}


def test_a_failed_action_says_why_and_what_mends_it(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        del server.routes["POST", "/v1/models/all-minilm-l6-v2/load"]
        async with opened("models", size=(100, 30)) as (_, pilot):
            await until_shown(pilot, "magika")
            await pilot.press("l")
            await until_shown(pilot, "fix: stackctl down && stackctl up")

    run(test)


def test_figures_leave_those_out_who_watch(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened(size=(140, 45)):
            pass

    asked = _queries(run(test))
    assert len(asked) == 2
    assert all(
        {"field": "name", "op": "ne", "value": "system.status"} in q["where"] for q in asked
    )


def test_a_daemon_that_comes_back_is_shown_without_a_key(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        clock = Clock()
        away = server.path.with_suffix(".away")
        async with opened(clock=clock) as (board, pilot):
            server.path.rename(away)
            clock.now_s += 12
            await until_shown(pilot, "STALE for 12 s")
            assert "fix: stackctl up" in screen_text(board)
            assert "31 of 40" in screen_text(board)
            away.rename(server.path)
            await until(pilot, lambda: board.gone is None)
            assert "STALE" not in screen_text(board)

    run(test)


def test_a_daemon_that_hangs_holds_one_thread(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        let_go = threading.Event()
        server.routes["GET", "/v1/jobs"] = lambda body: let_go.wait(10) and {"items": []}
        board = Dashboard(launch.client(), page="jobs", period_s=0.02)
        async with board.run_test() as pilot:
            await until(pilot, lambda: bool(server.seen))
            await pilot.pause(0.4)
            assert len(server.seen) == 1
            board.exit()
        let_go.set()

    run(test)


def test_a_dashboard_can_be_left_while_the_daemon_hangs(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        let_go = threading.Event()
        server.routes["GET", "/v1/jobs"] = lambda body: let_go.wait(30) and {"items": []}
        board = Dashboard(launch.client(), page="jobs", period_s=0.02)
        began = time.monotonic()
        async with board.run_test() as pilot:
            await until(pilot, lambda: bool(server.seen))
            await pilot.press("q")
        await asyncio.get_running_loop().shutdown_default_executor()
        assert time.monotonic() - began < 5
        let_go.set()

    run(test)


def test_an_action_under_way_is_told_and_holds_back_the_next(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        let_go = threading.Event()
        path = "/v1/models/all-minilm-l6-v2/load"
        server.routes["POST", path] = lambda body: let_go.wait(10) and RUNNING["items"][0]  # type: ignore[index]
        async with opened("models", size=(120, 40)) as (_, pilot):
            await until_shown(pilot, "magika")
            await pilot.press("l")
            await until_shown(pilot, "[load all-minilm-l6-v2 ...]")
            await pilot.press("l")
            await until_shown(pilot, "still busy")
            let_go.set()
            await until_shown(pilot, "done")
        assert sum(p == path for _, p, _ in server.seen) == 1

    run(test)


def test_a_click_on_a_name_opens_its_screen(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened() as (board, pilot):
            await pilot.click("Tabs", offset=(16, 0))
            await until(pilot, lambda: board.page() is board.get_screen("models"))

    run(test)


def test_a_resized_screen_is_as_one_opened_at_that_size(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened(size=(140, 45), period_s=0.05) as (board, pilot):
            await until_shown(pilot, "models.run")
            fresh = screen_text(board)
        async with opened(size=(80, 24), period_s=0.05) as (board, pilot):
            await pilot.resize_terminal(140, 45)
            await until(pilot, lambda: screen_text(board) == fresh)

    run(test)


def test_an_answer_of_another_version_is_told_and_is_no_crash(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        server.routes["GET", "/v1/devices"] = {"items": [{"name": "only this"}]}
        server.routes["GET", "/v1/status"] = {"unknown": 1}
        async with opened("devices") as (_, pilot):
            await until_shown(pilot, "another shape")
            await pilot.press("1")
            await until_shown(pilot, "another shape")

    run(test)


def test_markup_and_control_characters_of_others_are_plain_text(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        title = "[bold red]x[/] [/nothing] \x1b[2J end"
        server.routes["GET", "/v1/jobs"] = {"items": [job("running", title=title)]}
        async with opened("jobs", size=(120, 24)) as (board, pilot):
            await until_shown(pilot, "[bold red]x[/] [/nothing]")
            assert "\x1b" not in screen_text(board)

    run(test)


@pytest.mark.parametrize("size", [(80, 24), (250, 70), (40, 10)])
@pytest.mark.parametrize("page", PAGES)
def test_every_screen_fits_every_size(run: Run, page: str, size: tuple[int, int]) -> None:
    async def test(server: ControlServer) -> None:
        async with opened(page, size=size) as (board, _):
            lines = screen_text(board).splitlines()
            assert len(lines) <= size[1]
            assert max(map(len, lines)) <= size[0]
            assert "q quit" in lines[-1]

    run(test)


def test_the_theme_changes_and_the_environment_may_ask_for_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def test(server: ControlServer) -> None:
        async with opened("jobs") as (board, pilot):
            assert board.theme == "stackctl-no-colour"
            await pilot.press("t")
            assert board.theme == "stackctl-dark"

    run(test)


def test_the_palette_offers_every_action_with_its_key(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("models", size=(100, 40)) as (board, _):
            found = {c.title: c.help for c in board.get_system_commands(board.screen)}
            assert found["Load the model selected in the catalogue"] == "key: l"
            assert found["Go to Insights"] == "key: 8"

    run(test)


def test_once_without_a_daemon_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="not running"):
        launch.text("overview")


def test_an_unknown_screen_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="expected one of: overview"):
        launch.text("nothing")


def _queries(server: ControlServer) -> list[dict[str, Any]]:
    return [body for _, path, body in server.seen if path == "/v1/analytics/query"]
