"""What every screen has: its lines, its needs, its panels' slots; refuses to know any noun."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.events import Resize
from textual.screen import Screen
from textual.widget import Widget

from stackctl.cli.text import clean
from stackctl.client import Client
from stackctl.errors import StackctlError
from stackctl.tui.bindings import PAGE_KEYS, bindings
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need
from stackctl.tui.widgets.header import Banner, Bar, KeyLine, Tabs
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.widgets.panel import Panel

if TYPE_CHECKING:
    from stackctl.tui.app import Dashboard


class Page(Screen[None]):
    """A screen of the dashboard.

    A subclass names itself, says what it needs, and composes its body of panels and listings;
    each is handed the slot of its ``source``.
    """

    NAME: ClassVar[str] = ""
    AUTO_FOCUS = ""
    """Rows take the focus once there are some; a line of text only when it is asked for."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (40, "-tall")]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Before Textual's own, which merges BINDINGS.
        cls.BINDINGS = bindings(PAGE_KEYS.get(cls.NAME, []))  # type: ignore[assignment]  # a list of Binding is one of BindingType
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[str, Slot] = {}

    @property
    def board(self) -> Dashboard:
        """The application."""
        return cast("Dashboard", self.app)

    def needs(self) -> Sequence[Need]:
        """What is asked in each round."""
        return ()

    def body(self) -> Iterable[Widget]:
        """Widgets between the lines."""
        return ()

    def compose(self) -> ComposeResult:
        """Put the lines around the body."""
        yield Bar()
        yield Tabs(self.NAME)
        yield Banner()
        with Vertical(id="body"):
            yield from self.body()
        yield KeyLine(PAGE_KEYS.get(self.NAME, []))

    def take(self, answers: Mapping[str, Any], at: float) -> None:
        """Hand a round's answers to those who show them."""
        for name, answer in answers.items():
            self.slots[name] = self.slots.get(name, Slot()).after(answer, at)
        self.hand_out(answers)

    def hand_out(self, names: Iterable[str]) -> None:
        """Give slots of these names to their panels."""
        wanted = set(names)
        for panel in self.query(Panel):
            if panel.source in wanted and panel.source in self.slots:
                panel.take(self.slots[panel.source])
        for listing in self.query(Listing):
            if listing.source in wanted and listing.source in self.slots:
                listing.take(self.slots[listing.source])

    def put(self, name: str, value: Any) -> None:
        """Set a slot that no need fills, such as what is selected."""
        self.slots[name] = Slot(value, self.board.clock())
        self.hand_out([name])

    def forget(self, *names: str) -> None:
        """Go back to loading, as when the range has changed."""
        for name in names or tuple(self.slots):
            self.slots.pop(name, None)
        for widget in [*self.query(Panel), *self.query(Listing)]:
            if widget.source not in self.slots:
                widget.slot = Slot()
                widget.redraw()

    def reframe(self) -> None:
        """Do what another range of time asks for."""
        self.forget()

    def renew(self) -> None:
        """Ask again what is asked once, because somebody wants it."""

    def value(self, name: str) -> Any:
        """The last answer to a need, or None."""
        return self.slots.get(name, Slot()).value

    def act(self, label: str, call: Callable[[Client], Any]) -> None:
        """Change something in the daemon, and say how it went."""
        self.board.act(label, call)

    def acted(self, label: str, answer: Any, error: StackctlError | None) -> None:
        """Hear how an action of this screen went."""

    def on_screen_resume(self) -> None:
        """Ask anew as soon as one looks at it."""
        self.board.resumed(self)

    def on_resize(self, event: Resize) -> None:
        """Let panels draw for the new size."""
        del event
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        for panel in self.query(Panel):
            panel.refresh(layout=True)

    def first(self, kind: type[Listing] = Listing, selector: str = "") -> Listing | None:
        """The listing of a selector, if it is there."""
        try:
            return self.query(selector).first(kind) if selector else self.query(kind).first()
        except NoMatches:
            return None


def brief(text: str, words: str) -> bool:
    """Tell whether a text has all words, in any case."""
    low = clean(text).lower()
    return all(word in low for word in words.lower().split())
