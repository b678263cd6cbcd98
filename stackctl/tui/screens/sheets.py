"""What opens above a screen: the help, and a question for a line of text."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from stackctl.tui.bindings import DETAIL, PAGES, Key, bindings, sections
from stackctl.tui.words import joined, styled


class Sheet(ModalScreen[str | None]):
    """A sheet that Escape closes."""

    BINDINGS = bindings(DETAIL)  # type: ignore[assignment]  # a list of Binding is one of BindingType

    async def action_dismiss(self, result: str | None = None) -> None:
        """Close."""
        self.dismiss(result)


class HelpSheet(Sheet):
    """Every key, those of the present screen first."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page

    def compose(self) -> ComposeResult:
        """Show the sections."""
        with VerticalScroll() as scroll:
            scroll.border_title = "Keys (esc closes)"
            yield Static(joined(self._lines()), markup=False)

    def _lines(self) -> Iterator[str | Content]:
        title = PAGES.get(self._page, ("", ""))[1]
        found = sorted(sections().items(), key=lambda entry: entry[0] != title)
        for name, keys in found:
            yield styled(name, "bold $text-accent")
            yield from (_row(key) for key in keys)
            yield ""


class AskSheet(Sheet):
    """Asks for a line; gives it, or None."""

    def __init__(self, question: str, hint: str) -> None:
        super().__init__()
        self._question, self._hint = question, hint

    def compose(self) -> ComposeResult:
        """Show the question above its input."""
        with Vertical(classes="small") as box:
            box.border_title = "Enter confirms, esc closes"
            yield Static(self._question, markup=False)
            yield Input(placeholder=self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the line, when there is one."""
        if event.value.strip():
            self.dismiss(event.value.strip())


def _row(key: Key) -> Content:
    note = " (not in read-only mode)" if key.writes else ""
    return Content.assemble((f"  {key.shown:<8}", "bold"), f"{key.help}{note}")
