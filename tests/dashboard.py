"""Runs the dashboard against a scripted daemon, without a terminal and without pauses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from control_server import ControlServer
from dashboard_server import NOW_S, script_all
from textual.pilot import Pilot

from stackctl.tui import launch
from stackctl.tui.app import Dashboard, screen_text

WAIT_S = 10.0
Run = Callable[[Callable[[ControlServer], Coroutine[Any, Any, None]]], ControlServer]
"""Runs a test's coroutine beside a scripted daemon, and gives the daemon for what it saw."""


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def served(home: Path) -> Iterator[ControlServer]:
    """Serve every route of the dashboard in a home."""
    with ControlServer(home / "run" / "stackctld.sock") as server:
        script_all(server)
        yield server


def once(page: str, size: tuple[int, int]) -> str:
    """Give a screen after its first answers."""
    board = Dashboard(launch.client(), page=page, once=True, clock=Clock())
    return launch.text(page, width=size[0], height=size[1], board=board)


@contextlib.asynccontextmanager
async def opened(
    page: str = "overview",
    *,
    size: tuple[int, int] = (80, 24),
    read_only: bool = False,
    clock: Clock | None = None,
    period_s: float = 0.05,
) -> AsyncIterator[tuple[Dashboard, Pilot[str]]]:
    """Open the dashboard on a screen that has had its first round."""
    board = Dashboard(
        launch.client(), page=page, read_only=read_only, clock=clock or Clock(), period_s=period_s
    )
    async with board.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: bool(board.answered_at) or board.gone is not None)
        yield board, pilot


async def until(pilot: Pilot[str], holds: Callable[[], bool]) -> None:
    """Let the dashboard run until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.01)
    await pilot.pause()


async def until_shown(pilot: Pilot[str], text: str) -> str:
    """Let the dashboard run until a text is on the screen; give the screen."""
    await until(pilot, lambda: text in screen_text(pilot.app))
    return screen_text(pilot.app)
