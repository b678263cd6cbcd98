"""Runs the dashboard on this terminal, or draws one screen of it as text; starts no daemon."""

from __future__ import annotations

import os
import sys

from stackctl.client import Client, Transport
from stackctl.errors import Failed, Invalid, Unreachable
from stackctl.tui.app import Dashboard
from stackctl.tui.bindings import PAGES

ANSWER_S = 10.0
"""Longest wait for one answer: a screen that waits longer is of no use."""
SMALLEST = (40, 10)


def run(page: str, *, read_only: bool = False) -> None:
    """Open the dashboard on a screen, until it is left.

    Raises:
        Invalid: there is no such screen, or no terminal.
    """
    _known(page)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid(
            "the dashboard needs a terminal, and this is none",
            hint=f"stackctl tui --once {page}",
        )
    board = Dashboard(client(), page=page, read_only=read_only)
    board.run()
    if board.return_code:
        raise Failed(f"the dashboard ended with status {board.return_code}", hint="stackctl logs")


def text(page: str, *, width: int = 0, height: int = 0, board: Dashboard | None = None) -> str:
    """Give a screen as plain text, after its first answers.

    Raises:
        Invalid: there is no such screen.
        Unreachable: no daemon answers.
    """
    _known(page)
    size = (
        max(width or _number("COLUMNS", 100), SMALLEST[0]),
        max(height or _number("LINES", 40), SMALLEST[1]),
    )
    board = board or Dashboard(client(), page=page, once=True)
    shown = board.run(headless=True, size=size)
    if isinstance(board.gone, Unreachable):
        raise board.gone
    if shown is None:
        raise Failed(f"screen {page} could not be drawn", hint="stackctl doctor")
    return shown


def client() -> Client:
    """Give a client that never starts a daemon, and says nothing on the terminal."""
    return Client(Transport(timeout_s=ANSWER_S))


def _known(page: str) -> None:
    if page not in PAGES:
        raise Invalid(
            f'no screen "{page}", expected one of: {", ".join(PAGES)}',
            hint="stackctl tui --once overview",
        )


def _number(variable: str, default: int) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() and int(value) else default
