"""Requests: the live tail of events, filtered; Enter opens all events of one request."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from stackctl.cli.table import Column
from stackctl.cli.text import duration
from stackctl.client import Client
from stackctl.client.view import View
from stackctl.errors import StackctlError
from stackctl.tui.frame import Frame
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page, brief
from stackctl.tui.screens.trace import TraceSheet, events_of
from stackctl.tui.watching import is_watching
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.words import stamp

MOST = 500
"""Events that are kept: the memory of an open dashboard is bounded."""
A_ROUND = 200
KINDS = ["", "request", "inference", "job", "span", "log", "device", "container", "audit", "user"]
COLUMNS = [
    Column("TIME", lambda s: stamp(s.event.time_us)),
    Column("KIND", lambda s: s.event.kind, optional=True),
    Column("NAME", lambda s: s.event.name, shrink=True),
    Column("OUTCOME", lambda s: s.event.error_code or s.event.outcome),
    Column("TOOK", lambda s: duration(s.event.duration_s), right=True),
    Column("MODEL", lambda s: s.event.model, optional=True, shrink=True),
    Column("DEVICE", lambda s: s.event.device, optional=True),
    Column("UID", lambda s: s.event.uid if s.event.uid >= 0 else None, right=True, optional=True),
    Column("REQUEST", lambda s: s.event.request_id, optional=True),
]


class RequestsPage(Page):
    """A filter above the newest events."""

    NAME = "requests"

    def __init__(self) -> None:
        super().__init__()
        self._words, self._kind, self._own = "", "request", False
        self._kept: deque[Any] = deque(maxlen=MOST)
        self._seq = -1

    def needs(self) -> Sequence[Need]:
        """Events behind the last one seen; in the past those of the range."""
        seq, kind = self._seq, self._kind

        def ask(client: Client, frame: Frame) -> Any:
            if frame.live:
                return client.analytics.events(after_seq=seq, limit=A_ROUND, kind=kind)
            return _past(client, frame, kind)

        return [Need("tail", ask)]

    def body(self) -> Iterable[Widget]:
        """The filter above the events."""
        entry = Input(placeholder="words that an event must have, such as: error minilm")
        entry.display = False
        yield entry
        yield Listing(
            "",
            "shown",
            COLUMNS,
            pick=lambda found: found,
            id="events",
            key=lambda stored: str(stored.event.id),
            empty="no such event; k changes the kind, esc removes the filter",
        )

    def on_mount(self) -> None:
        """Say what is shown."""
        self._entitle()

    def take(self, answers: Mapping[str, Any], at: float) -> None:
        """Keep what is new."""
        super().take(answers, at)
        found = answers.get("tail")
        if found is None:
            return
        if isinstance(found, StackctlError):
            self.slots["shown"] = self.slots.get("shown", Slot()).after(found, at)
            self.hand_out(["shown"])
            return
        for stored in found.items:
            self._seq = max(self._seq, stored.seq)
            self._kept.append(stored)
        self._show()

    def reframe(self) -> None:
        """Begin anew."""
        self._anew()

    def action_filter(self) -> None:
        """Write a filter."""
        entry = self.query_one(Input)
        entry.display = True
        entry.focus()

    def action_unfilter(self) -> None:
        """Remove it."""
        entry = self.query_one(Input)
        entry.value, entry.display = "", False
        self.query_one(Listing).focus_rows()

    def action_kind(self) -> None:
        """Show the next kind."""
        self._kind = KINDS[(KINDS.index(self._kind) + 1) % len(KINDS)]
        self._anew()
        self.board.ask_now()

    def action_own(self) -> None:
        """Show or hide those who watch."""
        self._own = not self._own
        if "shown" in self.slots:
            self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one writes."""
        self._words = event.value
        if "shown" in self.slots:
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the events."""
        del event
        self.query_one(Listing).focus_rows()

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Open one."""
        if event.item is not None:
            self._open(event.item)

    def action_open(self) -> None:
        """Open the selected one."""
        item = self.query_one(Listing).selected
        if item is not None:
            self._open(item)

    def _open(self, stored: Any) -> None:
        self.app.push_screen(TraceSheet(self.board.client, stored.event, self.board.in_thread))

    def _anew(self) -> None:
        self._kept.clear()
        self._seq = -1
        self.forget("tail", "shown")
        self._entitle()

    def _show(self) -> None:
        newest = [
            stored
            for stored in reversed(self._kept)
            if (self._own or not is_watching(stored.event)) and brief(_words(stored), self._words)
        ]
        self.put("shown", newest)
        self._entitle()

    def _entitle(self) -> None:
        kind = self._kind or "all kinds"
        frame = self.board.frame
        tail = "live" if frame.live else f"of the {frame.name} looked at"
        hidden = "" if self._own else "; o shows those who watch"
        for listing in self.query(Listing):
            listing.border_title = f"Events ({kind}), newest first, {tail}{hidden}"


def _words(stored: Any) -> str:
    return " ".join(str(value) for value in vars(stored.event).values())


def _past(client: Client, frame: Frame, kind: str) -> Any:
    """Give the last events of a range that has passed, as a page of the tail would."""
    where = f"time_us >= {frame.begin_us} AND time_us < {frame.end_us}"
    where += f" AND kind = '{kind}'" if kind else ""
    items = events_of(client, where, newest=A_ROUND)
    return View({"items": [View({"seq": -1, "event": event}) for event in items], "next_seq": -1})
