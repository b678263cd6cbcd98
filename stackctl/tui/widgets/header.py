"""Lines around a screen: where one is, which range, what is stale, which keys; draws no data."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from stackctl.tui.bindings import EVERYWHERE, PAGES, Key
from stackctl.tui.frame import Frame
from stackctl.tui.words import day_time, styled

SHORT = 3
"""Letters of a screen's name where the whole names do not fit."""
LAST_KEYS = ("question_mark", "q")


class Tabs(Static):
    """The screens and their keys; the present one is marked in reverse and by brackets."""

    class Chosen(Message):
        """A screen was clicked."""

        def __init__(self, page: str) -> None:
            super().__init__()
            self.page = page

    def __init__(self, page: str) -> None:
        super().__init__(markup=False)
        self._page = page
        self._widths: list[tuple[str, int]] = []

    def render(self) -> Content:
        """Draw whole names, or their beginnings where there is no room."""
        for length in (None, SHORT):
            parts = [self._tab(name, length) for name in PAGES]
            self._widths = list(zip(PAGES, (part.cell_length for part in parts), strict=True))
            line = Content("").join(parts)
            if line.cell_length <= self.content_size.width:
                break
        return line

    def on_click(self, event: Click) -> None:
        """Go to the screen that was clicked."""
        at = 0
        for name, width in self._widths:
            at += width
            if event.x < at:
                self.post_message(self.Chosen(name))
                return

    def _tab(self, name: str, length: int | None) -> Content:
        key, title = PAGES[name]
        text = f"{Key(key, '', '').shown} {title[:length]}"
        if name == self._page:
            return styled(f"[{text}]", "reverse bold")
        return styled(f" {text} ", "$text-muted")


class Bar(Static):
    """The range, and what keeps the screen from being live."""

    def __init__(self) -> None:
        super().__init__(markup=False)

    def say(self, frame: Frame, marks: Sequence[str], state: str) -> None:
        """Show a range, marks such as ``paused``, and the daemon's state at the right."""
        ends = "to now" if frame.live else f"to {day_time(frame.end_us)} (in the past)"
        left = Content.assemble(
            (" stackctl ", "bold"),
            f" last {frame.name} " if frame.live else f" {frame.name} ",
            ends,
        )
        for mark in marks:
            left = left + Content("  ") + styled(f"[{mark}]", "bold $text-warning")
        gap = self.content_size.width - left.cell_length - len(state) - 1
        self.update(left + Content(" " * max(gap, 1)) + Content(state))


class Banner(Static):
    """Says that the daemon is gone and for how long; hidden while it answers."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.display = False

    def say(self, text: str) -> None:
        """Show a sentence, or nothing."""
        self.display = bool(text)
        if text:
            self.update(Content(text))


class KeyLine(Static):
    """The keys that matter here, as many as fit; the help has all."""

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__(markup=False)
        own = [key for key in keys if key.short]
        always = [key for key in EVERYWHERE if key.short]
        self._last = [key for key in always if key.key in LAST_KEYS]
        self._first = own + [key for key in always if key not in self._last]

    def render(self) -> Content:
        """Draw what fits, help and quit always."""
        tail = [_worded(key) for key in self._last]
        room = self.content_size.width - sum(part.cell_length for part in tail)
        head: list[Content] = []
        for key in self._first:
            part = _worded(key)
            room -= part.cell_length
            if room < 0:
                break
            head.append(part)
        return Content("").join([*head, *tail])


def _worded(key: Key) -> Content:
    return Content.assemble((f" {key.shown}", "bold $text-accent"), f" {key.short} ")
