"""Insights: what changed, why, with its evidence and what to do; mutes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from textual.content import Content
from textual.widget import Widget

from stackctl.cli.table import Column
from stackctl.cli.text import clean
from stackctl.client.view import mapping
from stackctl.tui import plot
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need
from stackctl.tui.screens.overview import insights_in
from stackctl.tui.screens.page import Page
from stackctl.tui.screens.sheets import AskSheet
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.widgets.panel import Panel, Space
from stackctl.tui.words import MARKS, day_time, measured, stamp, styled, word

STATES = ["open", "muted", "resolved", "all"]
CHART_ROWS = 9
COLUMNS = [
    Column("SEVERITY", lambda i: f"{MARKS.get(i.severity, '')} {i.severity}"),
    Column("STATE", lambda i: i.state, optional=True),
    Column("SINCE", lambda i: day_time(i.began_us)),
    Column("SURE", lambda i: f"{i.confidence:.0%}", right=True, optional=True),
    Column("WHAT", lambda i: i.title, shrink=True),
]


class InsightsPage(Page):
    """A listing, and the selected insight in full."""

    NAME = "insights"

    def __init__(self) -> None:
        super().__init__()
        self._state = STATES[0]

    def needs(self) -> Sequence[Need]:
        """Insights of a state; in the past those of the range."""
        state = self._state
        if state != "open":
            return [Need("insights", lambda client, frame: client.insights.list(state))]
        return [Need("insights", insights_in)]

    def body(self) -> Iterable[Widget]:
        """Listing above, detail below."""
        yield Listing(
            "Insights: open",
            "insights",
            COLUMNS,
            key=lambda item: str(item.id),
            empty="no insight of this state; s shows others",
        )
        yield Panel("Why", "insight", self._detail, empty="no insight is selected", id="why")

    def on_listing_selected(self, event: Listing.Selected) -> None:
        """Show the insight under the cursor, and what kept the engine from looking."""
        self.put("insight", event.item)
        if self.slots.get("insights", Slot()).error is None:
            event.listing.border_subtitle = _looked(self.value("insights"))

    def action_state(self) -> None:
        """Show the next state."""
        self._state = STATES[(STATES.index(self._state) + 1) % len(STATES)]
        self.query_one(Listing).border_title = f"Insights: {self._state}"
        self.forget("insights")
        self.board.ask_now()

    def action_mute(self) -> None:
        """Ask for a reason, then mute."""
        item = self.query_one(Listing).selected
        if item is None or self.board.read_only:
            said = "no insight is selected" if item is None else "read-only: mute was not done"
            self.notify(said, severity="warning")
            return

        def mute(reason: str | None) -> None:
            if reason:
                self.act("mute", lambda client: client.insights.mute(item.id, reason))

        self.app.push_screen(AskSheet(f"Mute for a day: {clean(item.title)}", "reason"), mute)

    def action_unmute(self) -> None:
        """Let the selected one speak again."""
        item = self.query_one(Listing).selected
        if item is None:
            self.notify("no insight is selected", severity="warning")
            return
        self.act("unmute", lambda client: client.insights.unmute(item.id))

    def _detail(self, item: Any, space: Space) -> list[str | Content]:
        if item is None:
            return []
        lines = list(_lines(item))
        chart = evidence(item, space.width, min(space.height - len(lines), CHART_ROWS))
        return [*lines, *chart]


def _lines(item: Any) -> Iterator[str | Content]:
    fields = vars(item)
    subject = ", ".join(f"{k}={clean(v)}" for k, v in mapping(item.subject).items())
    yield styled(clean(item.title), "bold")
    yield Content.assemble(
        word(item.severity), f"  {item.kind}  {subject}  sure {item.confidence:.0%}"
    )
    change, unit = item.change, _unit(item.change)
    before, after = (measured(value, unit) for value in (change.before, change.after))
    yield f"{clean(change.measure)}: {before} before, {after} after"
    yield from (f"- {clean(reason)}" for reason in fields.get("why") or [])
    if fields.get("action"):
        yield Content.assemble(("do: ", "bold"), clean(item.action))
    if fields.get("resolves"):
        yield f"over when: {clean(item.resolves)}"
    if fields.get("muted_reason"):
        yield f"muted until {day_time(item.muted_until_us)}: {clean(item.muted_reason)}"


def evidence(item: Any, width: int, height: int) -> list[str]:
    """Chart the measure beside what was expected; nothing where there is no room."""
    points = vars(item).get("evidence") or []
    if not points or height < plot.LEAST_ROWS + 2:
        return []
    found = plot.Line("is", [point[1] for point in points])
    expected = plot.Line("expected", [point[2] if len(point) > 2 else None for point in points])
    unit = _unit(item.change)
    box = plot.Box(width, height, points[0][0], points[-1][0], lambda value: measured(value, unit))
    return plot.lines([found, expected], box)


def _looked(found: Any) -> str:
    """Say when the engine last looked, or why it could not."""
    if found is None:
        return ""
    if found.problem:
        return f"could not look: {clean(found.problem)}".replace("[", "(")
    return f"looked {stamp(found.checked_us)}" if found.checked_us else "has not looked yet"


def _unit(change: Any) -> str:
    """Give a change's unit; rates of errors read as percentages."""
    return "ratio" if change.measure.endswith("error_rate") else str(change.unit)
