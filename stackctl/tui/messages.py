"""What the poller and the actions tell the screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textual.message import Message

from stackctl.errors import StackctlError


@dataclass(frozen=True)
class Slot:
    """The newest answer to one need of a screen, and what went wrong since."""

    value: Any = None
    at: float = 0.0
    """When the value came, on the dashboard's clock; 0: never."""
    error: StackctlError | None = None

    def after(self, answer: Any, at: float) -> Slot:
        """Give the slot after an answer or an error: an error keeps the last value."""
        if isinstance(answer, StackctlError):
            return Slot(self.value, self.at, answer)
        return Slot(answer, at)


class Polled(Message):
    """A round of questions has been answered."""

    def __init__(self, page: str, round_no: int, answers: Mapping[str, Any], at: float) -> None:
        super().__init__()
        self.page = page
        self.round_no = round_no
        """Of which change of the screen or of the range; older ones are thrown away."""
        self.answers = answers
        """Name of a need -> its answer, or the `StackctlError` that came instead."""
        self.at = at


class Acted(Message):
    """An action has ended."""

    def __init__(self, label: str, answer: Any, error: StackctlError | None) -> None:
        super().__init__()
        self.label = label
        self.answer = answer
        self.error = error
