"""Asks the daemon what the visible screen needs; refuses to touch a widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    whole: bool = True
    """It is asked again in the next round; False: once a visit, and when refreshed by hand."""


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
