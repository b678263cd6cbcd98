"""One request: its events as a waterfall, read from the store; opens above the requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from stackctl.cli.text import clean, cut, duration
from stackctl.client import Client
from stackctl.client.view import View, decode, encode, mapping
from stackctl.errors import StackctlError
from stackctl.tui.poller import guarded
from stackctl.tui.screens.sheets import Sheet
from stackctl.tui.words import STYLES, complaint, joined, stamp, styled

NAME_WIDTH = 26
MOST = 500


class TraceSheet(Sheet):
    """Asks once for the events that share a request's id."""

    class Found(Message):
        """The store has answered."""

        def __init__(self, answer: Any) -> None:
            super().__init__()
            self.answer = answer

    def __init__(
        self, client: Client, event: Any, in_thread: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__()
        self._client, self._event, self._in_thread = client, event, in_thread

    def compose(self) -> ComposeResult:
        """Show the event at once, the others when they are there."""
        with VerticalScroll() as scroll:
            scroll.border_title = "One request (esc closes)"
            yield Static("", markup=False)

    def on_mount(self) -> None:
        """Ask."""
        self._draw([self._event], styled("looking for its other events ...", "$text-muted"))
        if self._event.request_id:
            self._in_thread(self._ask)
        else:
            self._draw([self._event], styled("it has no request id", "$text-muted"))

    def _ask(self) -> None:
        where = f"request_id = {quoted(self._event.request_id)}"
        self.post_message(self.Found(guarded(lambda: events_of(self._client, where))))

    def on_trace_sheet_found(self, message: TraceSheet.Found) -> None:
        """Draw the whole."""
        if isinstance(message.answer, StackctlError):
            self._draw([self._event], complaint(message.answer))
        else:
            count = len(message.answer)
            self._draw(
                message.answer or [self._event],
                styled(f"{count} event{'s' * (count != 1)}", "$text-muted"),
            )

    def _draw(self, events: Sequence[Any], note: Content) -> None:
        width = max(self.app.size.width * 96 // 100 - 6, 40)
        lines = [*waterfall(events, width), "", *_fields(self._event), "", note]
        self.query_one(Static).update(joined(lines))


def events_of(client: Client, where: str, *, newest: int = MOST) -> list[Any]:
    """Give the newest events that a condition holds for, oldest first.

    Raises:
        StackctlError: what the daemon says to the query.
    """
    found = client.analytics.sql(
        f"SELECT * FROM events WHERE {where} ORDER BY time_us DESC", limit=newest
    )
    names = [column.name for column in found.columns]
    return [_event(dict(zip(names, row, strict=True))) for row in reversed(found.rows)]


def quoted(text: str) -> str:
    """Give a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def begin_us(event: Any) -> int:
    """When an event began: our own are told at their end, those of OpenTelemetry as they begin."""
    if event.kind == "span":
        return int(event.time_us)
    return int(event.time_us - event.duration_s * 1e6)


def waterfall(events: Sequence[Any], width: int) -> Iterator[str | Content]:
    """Give a bar an event from when it began, and its axis."""
    rows = sorted(events, key=begin_us)
    start = begin_us(rows[0])
    end = max(begin_us(event) + event.duration_s * 1e6 for event in rows)
    span = max(end - start, 1.0)
    room = max(width - NAME_WIDTH - 12, 8)
    for event in rows:
        left = min(int((begin_us(event) - start) / span * room), room - 1)
        length = max(round(event.duration_s * 1e6 / span * room), 1)
        bar = " " * left + "█" * min(length, room - left)
        name = cut(clean(f"{event.kind} {event.name}"), NAME_WIDTH)
        mark = "!" if event.outcome == "error" else " "
        yield Content.assemble(
            f"{name:<{NAME_WIDTH}}{mark}",
            (f"{bar:<{room}}", STYLES["error"] if mark == "!" else "$text-accent"),
            f" {duration(event.duration_s):>9}",
        )
    last = duration(span / 1e6)
    yield f"{stamp(start):<{NAME_WIDTH}} 0{last:>{room - 1}}"


def _fields(event: Any) -> Iterator[str | Content]:
    for name, value in vars(event).items():
        if value in ("", None, -1) or value == {}:
            continue
        shown = encode(mapping(value)) if isinstance(value, View) else value
        yield Content.assemble((f"{name:<12}", "bold"), clean(shown))


def _event(fields: dict[str, Any]) -> Any:
    """Give a row of the store as an event; its attributes are JSON text there."""
    attributes = fields.get("attributes")
    if isinstance(attributes, str):
        try:
            fields["attributes"] = decode(attributes)
        except ValueError:
            fields["attributes"] = {}
    return View(fields)
