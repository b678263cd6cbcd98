"""A titled box that draws one answer in each of its states: loading, empty, error, stale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widgets import Static

from stackctl.errors import Failed
from stackctl.tui.messages import Slot
from stackctl.tui.poller import SHAPE_ERRORS
from stackctl.tui.words import complaint, joined, stale, styled


@dataclass(frozen=True)
class Space:
    """Room inside of a panel, in cells."""

    width: int
    height: int


Draw = Callable[[object, Space], Sequence[str | Content]]
"""Gives the lines of a value; none when there is nothing to show."""


class Panel(Static, can_focus=False):
    """Shows the answer to one need.

    Args:
        title: of the box.
        source: name of the need.
        draw: gives the lines.
        empty: what to say, and to do, when there are none.
    """

    def __init__(
        self, title: str, source: str, draw: Draw, *, empty: str, id: str | None = None
    ) -> None:
        super().__init__(id=id, markup=False)
        self.border_title = title
        self.source = source
        self._draw = draw
        self._empty = empty
        self.slot = Slot()

    def take(self, slot: Slot) -> None:
        """Show a slot; nothing is drawn when it says the same as before."""
        same = slot.value == self.slot.value and str(slot.error) == str(self.slot.error)
        never = not self.slot.at and not self.slot.error
        self.slot = slot
        if not same or never:
            self.redraw()

    def redraw(self) -> None:
        """Draw anew, for the same value on another range or size."""
        self.set_class(self.slot.error is not None, "-error")
        self.set_class(not self.slot.at, "-words")
        self.border_subtitle = stale(self.slot)
        self.refresh(layout=True)

    def render(self) -> Content:
        """Draw the state that the slot is in."""
        slot = self.slot
        if not slot.at:
            return complaint(slot.error) if slot.error else styled("loading ...", "$text-muted")
        try:
            lines = list(self._draw(slot.value, Space(*self._room())))
        except SHAPE_ERRORS as err:
            return complaint(
                Failed(
                    f"the daemon's answer has another shape: {err!r}",
                    hint="stackctl down && stackctl up",
                )
            )
        shown = lines or [styled(self._empty, "$text-muted")]
        return joined([*shown, complaint(slot.error)] if slot.error and not lines else shown)

    def _room(self) -> tuple[int, int]:
        size = self.content_size
        return max(size.width, 1), max(size.height, 1)
