"""A table that one selects in, laid out by the same columns as the command line's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import OptionList, Static

from stackctl.cli.table import Column, render
from stackctl.errors import StackctlError
from stackctl.tui.messages import Slot
from stackctl.tui.poller import guarded
from stackctl.tui.words import STYLES, complaint, stale, styled

Pick = Callable[[Any], Sequence[Any]]
MARGIN = 2
"""Columns beside the text: the list's padding and its scroll bar."""


class Listing(Vertical):
    """Rows of one need; the selection stays on its item when rows come and go.

    Args:
        title: of the box.
        source: name of the need.
        columns: as the command line lays them out.
        pick: gives the items of an answer.
        key: what makes an item the same item.
        empty: what to say, and to do, when there are none.
    """

    class Selected(Message):
        """Another item is selected, or its content has changed."""

        def __init__(self, listing: Listing, item: Any) -> None:
            super().__init__()
            self.listing = listing
            self.item = item

        @property
        def control(self) -> Listing:
            """The listing that it is about."""
            return self.listing

    class Opened(Selected):
        """Enter, or a click, on an item."""

    def __init__(
        self,
        title: str,
        source: str,
        columns: Sequence[Column],
        *,
        pick: Pick = lambda value: value.items,
        key: Callable[[Any], str],
        empty: str,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.border_title = title
        self.source = source
        self._columns = columns
        self._pick, self._key, self._empty = pick, key, empty
        self.slot = Slot()
        self.items: list[Any] = []
        self._head = Static("loading ...", classes="head", markup=False)
        self._list = OptionList(markup=False)

    def compose(self) -> ComposeResult:
        """Stack the head above the rows."""
        yield self._head
        yield self._list

    @property
    def selected(self) -> Any:
        """The item under the cursor, or None."""
        at = self._list.highlighted
        return self.items[at] if at is not None and at < len(self.items) else None

    def focus_rows(self) -> None:
        """Let keys go to the rows."""
        self._list.focus()

    def take(self, slot: Slot) -> None:
        """Show a slot; nothing is drawn when it says the same as before."""
        same = slot.value == self.slot.value and str(slot.error) == str(self.slot.error)
        never = not self.slot.at and not self.slot.error
        self.slot = slot
        if not same or never:
            self.redraw()

    def columns(self, columns: Sequence[Column]) -> None:
        """Lay out by other columns from the next answer on."""
        self._columns = columns

    def head(self, text: Content) -> None:
        """Say something in place of rows, until there is an answer."""
        self._head.update(text)

    def redraw(self) -> None:
        """Lay the rows out for the present width."""
        self.set_class(self.slot.error is not None, "-error")
        self.border_subtitle = stale(self.slot)
        if not self.slot.at:
            waiting = styled("loading ...", "$text-muted")
            self._say(complaint(self.slot.error) if self.slot.error else waiting)
            return
        width = max(self.content_size.width - MARGIN, 10)
        items = guarded(lambda: list(self._pick(self.slot.value)))
        lines = guarded(lambda: render(items, self._columns, width) if items else [])
        for found in (items, lines):
            if isinstance(found, StackctlError):
                self._say(complaint(found))
                return
        if not items:
            self._say(styled(self._empty, "$text-muted"))
            return
        self._fill(items, lines)

    def _say(self, text: Content) -> None:
        self.items = []
        self._list.clear_options()
        self._list.display = False
        self._head.set_class(False, "-columns")
        self._head.update(text)
        self.post_message(self.Selected(self, None))

    def _fill(self, items: list[Any], lines: list[str]) -> None:
        chosen = self.selected
        wanted = self._key(chosen) if chosen is not None else ""
        self.items = items
        self._list.display = True
        self._head.set_class(True, "-columns")
        self._head.update(Content(lines[0]))
        top = self._list.scroll_offset
        with self.prevent(OptionList.OptionHighlighted):
            self._list.clear_options()
            self._list.add_options([_coloured(line) for line in lines[1:]])
            keys = [self._key(item) for item in items]
            self._list.highlighted = keys.index(wanted) if wanted in keys else 0
        if self.screen.focused is None:
            self._list.focus()
        self._list.scroll_to(*top, animate=False)
        self.post_message(self.Selected(self, self.selected))

    def on_resize(self, event: Resize) -> None:
        """Lay out for the new width."""
        del event
        if self.slot.at:
            self.redraw()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Tell of a moved cursor."""
        event.stop()
        self.post_message(self.Selected(self, self.selected))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tell of Enter or a click."""
        event.stop()
        self.post_message(self.Opened(self, self.selected))


def _coloured(line: str) -> Content:
    """Colour the words of states in a row."""
    text = Content(line)
    for part in set(line.split()) & set(STYLES):
        at = f" {line} ".find(f" {part} ")
        text = text.stylize(STYLES[part], at, at + len(part))
    return text
