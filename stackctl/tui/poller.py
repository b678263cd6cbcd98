"""Asks the daemon what the visible screen needs; refuses to touch a widget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackctl.client import Client
from stackctl.errors import Failed, NotFound, StackctlError, Unreachable
from stackctl.tui.frame import Frame

SHAPE_ERRORS = (AttributeError, KeyError, TypeError, ValueError, IndexError)
"""What a reply of another version gives, since views are not validated."""


@dataclass(frozen=True)
class Need:
    """One question of a screen."""

    name: str
    ask: Callable[[Client, Frame], Any]
    every_s: float = 0.0
    """Least time between two askings, unless one asks by hand; 0: in each round."""


class Schedule:
    """Knows which needs are due; what failed is due at once."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str], float] = {}

    def clear(self) -> None:
        """Let everything be due."""
        self._answered.clear()

    def due(self, page: str, needs: Sequence[Need], now_s: float) -> list[Need]:
        """Give the needs of a screen that are due."""
        known = self._answered
        return [
            need
            for need in needs
            if now_s - known.get((page, need.name), -math.inf) >= need.every_s
        ]

    def note(self, page: str, answers: Mapping[str, Any], now_s: float) -> None:
        """Remember what was answered."""
        for name, answer in answers.items():
            if not isinstance(answer, StackctlError):
                self._answered[page, name] = now_s


def ask(client: Client, needs: Sequence[Need], frame: Frame) -> dict[str, Any]:
    """Give each need's answer, or the error that came instead.

    A daemon that is gone is asked once, not once for each need.
    """
    answers: dict[str, Any] = {}
    gone: Unreachable | None = None
    for need in needs:
        answers[need.name] = gone or guarded(lambda need=need: need.ask(client, frame))  # type: ignore[misc]  # a lambda's default has no type
        if isinstance(answers[need.name], Unreachable):
            gone = answers[need.name]
    return answers


def guarded(call: Callable[[], Any]) -> Any:
    """Give what a call gives, or its error as one of ours."""
    try:
        return call()
    except NotFound as err:
        if err.message.startswith("no route"):
            return NotFound(
                f"this daemon does not offer it: {err.message}",
                hint="stackctl down && stackctl up",
            )
        return err
    except StackctlError as err:
        return err
    except OSError as err:
        return Unreachable(f"the daemon cannot be asked: {err}", hint="stackctl doctor")
    except SHAPE_ERRORS as err:
        return Failed(
            f"the daemon's answer has another shape: {err}", hint="stackctl down && stackctl up"
        )
