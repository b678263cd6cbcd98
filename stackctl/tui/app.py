"""The application: holds the client, the range and the clock of polling; screens do the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from stackctl.cli.text import clean
from stackctl.client import Client
from stackctl.errors import StackctlError, Unreachable
from stackctl.tui.bindings import EVERYWHERE, PAGE_KEYS, PAGES, Key, bindings
from stackctl.tui.frame import Frame
from stackctl.tui.messages import Acted, Polled
from stackctl.tui.poller import Schedule, ask, guarded
from stackctl.tui.screens import registry
from stackctl.tui.screens.page import Page
from stackctl.tui.screens.sheets import HelpSheet
from stackctl.tui.theme import NO_COLOUR, THEMES
from stackctl.tui.widgets.header import Banner, Bar, KeyLine, Tabs
from stackctl.tui.words import ago

PERIOD_S = 2.0
"""Between rounds of questions."""


_LOOK_S = 0.02
_STILL = 4
"""Looks at a screen that found no change, after which it is whole."""


class Dashboard(App[str]):
    """The dashboard.

    Args:
        client: its daemon; it is never started from here.
        page: name of the first screen.
        read_only: refuse every action that changes something.
        once: end after the first round of answers; the result is the screen's text.
        clock: seconds since the epoch.
        period_s: between rounds; 0: only when asked.
    """

    CSS_PATH = "styles/app.tcss"
    TITLE = "stackctl"
    BINDINGS = bindings(EVERYWHERE)  # type: ignore[assignment]  # a list of Binding is one of BindingType
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_DISPLAY = "ctrl+p"

    def __init__(
        self,
        client: Client,
        *,
        page: str = "overview",
        read_only: bool = False,
        once: bool = False,
        clock: Callable[[], float] = time.time,
        period_s: float = PERIOD_S,
    ) -> None:
        super().__init__()
        self.client = client
        self.clock = clock
        self.read_only = read_only
        self.paused = False
        self.busy = ""
        self._first, self._once, self._period_s = page, once, period_s
        self._window, self._until_us = 1, 0
        self._frame = Frame(self.now())
        self._round = 0
        self._schedule = Schedule()
        self._asking = False
        self._again = False
        self._gone: Unreachable | None = None
        self._gone_at = 0.0
        self.answered_at = 0.0

    # -- time ---------------------------------------------------------------

    def now(self) -> int:
        """Microseconds since the epoch."""
        return int(self.clock() * 1e6)

    @property
    def frame(self) -> Frame:
        """The range that the answers on the screen are of."""
        return self._frame

    # -- life ---------------------------------------------------------------

    def on_mount(self) -> None:
        """Show the first screen and begin to ask."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = NO_COLOUR if self.no_color else THEMES[0].name
        for name, kind in registry.PAGES.items():
            self.install_screen(kind(), name)
        self.push_screen(self._first)
        if self._period_s and not self._once:
            self.set_interval(self._period_s, self._tick)
            self.set_interval(1.0, self._tell_age)

    def page(self) -> Page | None:
        """The screen below what is open above it."""
        return next((s for s in reversed(self.screen_stack) if isinstance(s, Page)), None)

    def resumed(self, page: Page) -> None:
        """Ask for a screen that has just become visible."""
        del page
        self.refresh_bar()
        self.ask_now()

    # -- polling ------------------------------------------------------------

    def ask_now(self) -> None:
        """Start a round; answers of rounds that began earlier are thrown away."""
        self._round += 1
        self._schedule.clear()
        self._again = self._asking
        if not self._asking:
            self._start()

    def _tick(self) -> None:
        if not self.paused and not self._asking:
            self._start()

    def _start(self) -> None:
        page = self.page()
        if page is None:
            return
        self._frame = Frame(self.now(), self._window, self._until_us)
        self._asking, self._again = True, False
        # One at a time: a daemon that hangs holds one thread, not one a round.
        needs = self._schedule.due(page.NAME, page.needs(), self.clock())
        self.in_thread(partial(self._ask, page, needs, self._frame, self._round))

    def in_thread(self, work: Callable[[], None]) -> None:
        """Run what blocks.

        No worker of Textual's: their threads are joined at the end, and one that waits for a
        daemon that hangs would keep the dashboard from being left.
        """
        threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()

    def _ask(self, page: Page, needs: Any, frame: Frame, number: int) -> None:
        answers = ask(self.client, needs, frame)
        self.post_message(Polled(page.NAME, number, answers, self.clock()))

    def on_polled(self, message: Polled) -> None:
        """Hand a round's answers to the screen that asked."""
        self._asking = False
        if self._again:
            self._start()
            return
        page = self.page()
        if page is None or message.page != page.NAME or message.round_no != self._round:
            return
        if not page.query(KeyLine):
            return  # It is being taken down.
        self._judge(message)
        self._schedule.note(page.NAME, message.answers, message.at)
        page.take(message.answers, message.at)
        self.refresh_bar()
        if self._once:
            self.call_after_refresh(self.call_later, self._finish)

    def _judge(self, message: Polled) -> None:
        """Note whether the daemon answered."""
        found = list(message.answers.values())
        gone = next((answer for answer in found if isinstance(answer, Unreachable)), None)
        if gone is not None:
            self._gone_at = self._gone_at or message.at
        elif found:
            self._gone_at, self.answered_at = 0.0, message.at
        if gone is not None or found:
            self._gone = gone

    def _finish(self, before: str = "", same: int = 0) -> None:
        """End with the screen's text once it stays the same: widgets draw in their own time."""
        if self._gone is not None:
            self.exit(message=None, return_code=self._gone.exit_code)
            return
        text = screen_text(self)
        same = same + 1 if text == before else 0
        if same >= _STILL:
            self.exit(text)
        else:
            self.set_timer(_LOOK_S, partial(self._finish, text, same))

    @property
    def gone(self) -> Unreachable | None:
        """Why the daemon could not be asked in the last round, if it could not."""
        return self._gone

    # -- lines --------------------------------------------------------------

    def _tell_age(self) -> None:
        if self._gone is not None:
            self.refresh_bar()

    def refresh_bar(self) -> None:
        """Write the lines around the screen anew."""
        page = self.page()
        if page is None or not page.is_mounted:
            return
        marks = [self.busy] if self.busy else []
        marks += ["paused"] if self.paused else []
        marks += ["read-only"] if self.read_only else []
        state = "daemon gone" if self._gone else "daemon ok" if self.answered_at else "asking ..."
        for bar in page.query(Bar):
            bar.say(Frame(self.now(), self._window, self._until_us), marks, state)
        for banner in page.query(Banner):
            banner.say(self._lament())

    def _lament(self) -> str:
        if self._gone is None:
            return ""
        age = ago(max(self.clock() - (self.answered_at or self._gone_at), 0.0))
        old = f"STALE for {age}: " if self.answered_at else ""
        hint = f"fix: {self._gone.hint}; " if self._gone.hint else ""
        return f"{old}{hint}asking again every {PERIOD_S:g} s; {clean(self._gone.message)}"

    # -- actions ------------------------------------------------------------

    def act(self, label: str, call: Callable[[Client], Any]) -> None:
        """Run an action of a screen in a thread, one at a time."""
        if self.read_only:
            self.notify(f"read-only: {label} was not done", severity="warning")
        elif self.busy:
            self.notify(f"still busy: {self.busy}", severity="warning")
        else:
            self.busy = f"{label} ..."
            self.refresh_bar()
            self.in_thread(partial(self._act, label, call))

    def _act(self, label: str, call: Callable[[Client], Any]) -> None:
        answer = guarded(lambda: call(self.client))
        error = answer if isinstance(answer, StackctlError) else None
        self.post_message(Acted(label, answer, error))

    def on_acted(self, message: Acted) -> None:
        """Say how an action went, and look at once."""
        self.busy = ""
        if message.error is not None:
            hint = f"\nfix: {message.error.hint}" if message.error.hint else ""
            self.notify(
                f"{message.label}: {message.error.message}{hint}",
                severity="error",
                timeout=10,
                markup=False,
            )
        else:
            self.notify(f"{message.label}: done", markup=False)
        page = self.page()
        if page is not None:
            page.acted(message.label, message.answer, message.error)
        self.ask_now()
        self.refresh_bar()

    def action_page(self, name: str) -> None:
        """Go to a screen."""
        if self.page() is not self.get_screen(name):
            self.switch_screen(name)

    def on_tabs_chosen(self, message: Tabs.Chosen) -> None:
        """Go where one clicked."""
        self.action_page(message.page)

    def action_window(self, by: int) -> None:
        """Look at a longer or shorter range."""
        self._move(Frame(self.now(), self._window, self._until_us).resized(by))

    def action_step(self, halves: int) -> None:
        """Travel by half a range."""
        self._move(Frame(self.now(), self._window, self._until_us).stepped(halves))

    def action_live(self) -> None:
        """Return to now."""
        self._move(Frame(self.now(), self._window))

    def _move(self, frame: Frame) -> None:
        if (frame.window, frame.until_us) == (self._window, self._until_us):
            return
        self._window, self._until_us = frame.window, frame.until_us
        self._frame = frame
        for name in PAGES:
            if self.is_screen_installed(name) and self.get_screen(name).is_mounted:
                registry.page(self.get_screen(name)).reframe()
        self.refresh_bar()
        self.ask_now()

    def action_pause(self) -> None:
        """Stop to ask, or go on."""
        self.paused = not self.paused
        self.refresh_bar()
        if not self.paused:
            self.ask_now()

    def action_refresh(self) -> None:
        """Ask now."""
        page = self.page()
        if page is not None:
            page.renew()
        self.ask_now()

    def action_theme(self) -> None:
        """Take the next theme."""
        names = [theme.name for theme in THEMES]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    def action_help(self) -> None:
        """Show every key."""
        page = self.page()
        self.push_screen(HelpSheet(page.NAME if page else ""))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer every action with its key."""
        for key in EVERYWHERE:
            if key.action != "command_palette":
                yield SystemCommand(key.help, f"key: {key.shown}", self._runner(self, key))
        if isinstance(screen, Page):
            for key in PAGE_KEYS.get(screen.NAME, []):
                yield SystemCommand(key.help, f"key: {key.shown}", self._runner(screen, key))

    def _runner(self, namespace: Any, key: Key) -> Callable[[], Any]:
        return partial(self.run_action, key.action, namespace)


def screen_text(app: App[Any]) -> str:
    """Give what the screen shows, as plain lines without trailing blanks."""
    # The compositor is what Textual's own export_screenshot reads; it has no public text form.
    strips = app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
    return "\n".join(lines).rstrip() + "\n"
