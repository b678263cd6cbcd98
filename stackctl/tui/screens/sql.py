"""SQL: one SELECT over the events, bounded by the daemon; refuses to keep what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from stackctl.cli.table import Column
from stackctl.cli.text import clean, duration
from stackctl.client import Client
from stackctl.errors import StackctlError
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.words import styled

FIRST = "SELECT kind, name, count(*) AS n FROM events GROUP BY kind, name ORDER BY n DESC"
MOST_ROWS = 1000


class SqlPage(Page):
    """A line for the query, and its rows."""

    NAME = "sql"

    def __init__(self) -> None:
        super().__init__()
        self._sql = ""

    def needs(self) -> Sequence[Need]:
        """The rows, once a query."""
        sql = self._sql
        if not sql or self.slots.get("rows", Slot()).at or self.slots.get("rows", Slot()).error:
            return [Need("version", lambda client, frame: client.system.version())]
        return [Need("rows", lambda client, frame: _ask(client, sql))]

    def body(self) -> Iterable[Widget]:
        """The query above the rows."""
        entry = Input(value=FIRST)
        entry.border_title = "SELECT over events, minutes, hours (read-only); Enter runs it"
        entry.cursor_position = 0
        yield entry
        yield Listing("Rows", "rows", [], key=str, empty="no rows")

    def on_mount(self) -> None:
        """Say what to do."""
        self.query_one(Listing).head(styled("/ to write, Enter to run", "$text-muted"))

    def action_ask(self) -> None:
        """Write."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run."""
        self._sql = event.value.strip()
        if self._sql:
            self.forget("rows")
            self.query_one(Listing).focus_rows()
            self.board.ask_now()

    def renew(self) -> None:
        """Run it again."""
        if self._sql:
            self.forget("rows")

    def reframe(self) -> None:
        """Keep the rows: a query names its own range."""

    def hand_out(self, names: Iterable[str]) -> None:
        """Lay out by the answer's columns, and say how much there is."""
        found = self.value("rows")
        if "rows" in set(names) and found is not None and not isinstance(found, StackctlError):
            listing = self.query_one(Listing)
            listing.border_title = (
                f"{len(found.rows)} rows{' (cut)' if found.truncated else ''}"
                f" in {duration(found.elapsed_s)}"
            )
            listing.columns(_columns(found))
        super().hand_out(names)


def _ask(client: Client, sql: str) -> Any:
    found: Any = client.analytics.sql(sql, limit=MOST_ROWS)
    found.items = found.rows
    return found


def _columns(found: Any) -> list[Column]:
    return [
        Column(clean(column.name), partial(_cell, at), shrink=True)
        for at, column in enumerate(found.columns)
    ]


def _cell(at: int, row: Any) -> str:
    value = row[at]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
