"""The first screen: what is wrong, then how things are; refuses to change anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from stackctl.cli.text import clean, duration, size
from stackctl.client import Client
from stackctl.tui import plot
from stackctl.tui.frame import Frame
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.watching import left_out
from stackctl.tui.widgets.panel import Panel, Space
from stackctl.tui.words import (
    MARKS,
    STYLES,
    ago,
    measured,
    number,
    span,
    stamp,
    styled,
    tinted,
    word,
)

DAY_S = 86_400
STATUS_S = 6.0
TALL = 40
"""Rows from which the busiest names have room, as in `Page.VERTICAL_BREAKPOINTS`."""
MEASURES = ["count", "errors", "p50_s", "p99_s"]


class OverviewPage(Page):
    """Insights first; then areas, devices, traffic, latency, errors."""

    NAME = "overview"

    def needs(self) -> Sequence[Need]:
        """Insights, the status, and one series for the three charts."""
        # A bar of hours does not change in seconds.
        every_s = min(self.board.frame.step_s / 15, 60.0)
        tall = self.app.size.height >= TALL
        found = [
            Need("insights", insights_in),
            # It reckons quantiles of every name, far more than areas need: not in each round.
            Need("status", lambda client, frame: client.system.status(), STATUS_S),
            Need("devices", lambda client, frame: client.devices.list()),
            Need("series", _series, every_s),
        ]
        return [*found, Need("names", _names, every_s)] if tall else found

    def body(self) -> Iterable[Widget]:
        """Stack the panels."""
        yield Panel(
            "Insights",
            "insights",
            self._insights,
            id="insights",
            empty="Nothing stands out: no open insight.",
        )
        yield Horizontal(
            Panel("Areas now", "status", _areas, empty="no areas", id="areas"),
            Panel("Devices now", "devices", _devices, empty="no devices: stackctl doctor"),
            classes="row fixed",
        )
        yield Horizontal(
            Panel("Requests", "series", self._traffic, empty="", id="traffic"),
            Panel(
                "Latency", "series", self._latency, id="latency", empty="no request in this range"
            ),
            Panel("Errors", "series", self._errors, empty="", id="errors"),
            classes="row charts",
        )
        yield Panel("Busiest", "names", _busiest, empty="no request in this range", id="busiest")

    def _insights(self, found: Any, space: Space) -> list[Content]:
        rows = [insight_line(item, self.board.now()) for item in found.items[: space.height]]
        hidden = len(found.items) - space.height
        if hidden > 0:
            rows[-1] = styled(f"and {hidden + 1} more: press 8", "$text-muted")
        if not rows and found.problem:
            return [styled(f"insights could not look: {clean(found.problem)}", "$text-warning")]
        if not rows and not found.checked_us:
            return [styled("The engine has not looked yet.", "$text-muted")]
        return rows

    def _traffic(self, found: Any, space: Space) -> list[str | Content]:
        return self._bars(found, space, "count", "requests")

    def _errors(self, found: Any, space: Space) -> list[str | Content]:
        return self._bars(found, space, "errors", "errors")

    def _bars(self, found: Any, space: Space, measure: str, noun: str) -> list[str | Content]:
        frame = self.board.frame
        values = [value or 0 for value in column(found, measure, frame)]
        box = plot.Box(space.width, space.height - 1, *_span(frame), number)
        total = sum(values)
        # Of whole buckets: "in 1 h" would promise what is up to a bucket more.
        since = stamp(frame.begin_us, form="%H:%M" if frame.window_s <= DAY_S else "%d %b %H:%M")
        each = span(plot.bar_size(values, box) * frame.step_s)
        longest = f"{total:,.0f} {noun} since {since}"
        heads = [f"{longest}, a bar each {each}", longest, f"{total:,.0f} since {since}"]
        shown = next((head for head in heads if len(head) <= space.width), f"{total:,.0f}")
        style = STYLES["error"] if measure == "errors" else "$text-primary"
        return [shown, *(tinted(line, style) for line in plot.bars(values, box))]

    def _latency(self, found: Any, space: Space) -> list[str | Content]:
        frame = self.board.frame
        chart = [plot.Line(f"p{q}", column(found, f"p{q}_s", frame)) for q in (50, 99)]
        if all(value is None for line in chart for value in line.values):
            return []
        box = plot.Box(space.width, space.height - 1, *_span(frame), duration)
        drawn = (tinted(line, "$text-accent") for line in plot.lines(chart, box))
        return ["p50 and p99 of requests"[: space.width], *drawn]


def insights_in(client: Client, frame: Frame) -> Any:
    """Ask for open insights; in the past for those that were true in the range."""
    if frame.live:
        return client.insights.list("open")
    found: Any = client.insights.list("all")
    found.items = [
        item
        for item in found.items
        if item.began_us < frame.end_us and (item.resolved_us or frame.end_us) >= frame.begin_us
    ]
    return found


def insight_line(item: Any, now_us: int) -> Content:
    """Give an insight in a line: severity, since when, what."""
    since = ago(max(now_us - item.began_us, 0) / 1e6)
    style = STYLES.get(item.severity, "$text-accent")
    state = "" if item.state == "open" else f" ({item.state})"
    return Content.assemble(
        (f"{MARKS.get(item.severity, '  ')} {item.severity:<8}", style),
        (f" {since:>6}  ", "$text-muted"),
        clean(item.title) + state,
    )


def column(found: Any, measure: str, frame: Frame) -> list[float | None]:
    """Give a measure by the frame's buckets; None where a bucket has no row."""
    names = [entry.name for entry in found.columns]
    time_at = next(i for i, entry in enumerate(found.columns) if entry.role == "time")
    at = names.index(measure)
    rows = {int(row[time_at]): row[at] for row in found.rows}
    return [rows.get(begin) for begin in frame.buckets]


def _series(client: Client, frame: Frame) -> Any:
    return client.analytics.query(
        measures=MEASURES,
        kind="request",
        where=left_out(),
        since_us=frame.begin_us,
        until_us=0 if frame.live else frame.until_us,
        step_s=frame.step_s,
    )


def _names(client: Client, frame: Frame) -> Any:
    return client.analytics.query(
        measures=["count", "errors", "p50_s", "p99_s"],
        kind="request",
        where=left_out(),
        since_us=frame.begin_us,
        until_us=0 if frame.live else frame.until_us,
        group_by=["name"],
        order_by="-count",
        limit=8,
    )


def _span(frame: Frame) -> tuple[int, int]:
    return frame.begin_us, frame.end_us


def _areas(found: Any, space: Space) -> list[Content]:
    lines = []
    for area in sorted(found.areas, key=lambda area: area.state == "ready"):
        reason = f"  {clean(area.reason)}" if area.reason else ""
        lines.append(Content(f"{area.name:<10} ") + word(area.state) + Content(reason))
        if area.state == "degraded" and area.hint:
            lines.append(Content.assemble(("fix: ", "bold"), clean(area.hint)))
    ready = sum(area.state == "ready" for area in found.areas)
    if len(lines) > space.height:
        lines = [*lines[: space.height - 1], Content(f"{ready} of {len(found.areas)} are ready")]
    return lines


def _devices(found: Any, space: Space) -> list[Content]:
    lines = []
    for device in found.items:
        used, total = device.memory_used_bytes, device.memory_total_bytes
        facts = [f"memory {used / total:.0%}" if total else "", f"{device.queued} queued"]
        facts.append("" if device.utilisation is None else f"{device.utilisation:.0%} busy")
        facts.append(f"{size(used)} of {size(total)}")
        text = "  ".join(fact for fact in facts if fact)
        state = word(device.worker_state)
        lines.append(Content(f"{device.id:<7} ") + state + Content(f"  {text}"))
    hidden = len(lines) - space.height
    if hidden > 0:
        lines = [*lines[: space.height - 1], Content(f"and {hidden + 1} more: press 2")]
    return lines


def _busiest(found: Any, space: Space) -> list[str | Content]:
    lines: list[str | Content] = [
        styled(f"{'REQUEST':<32}{'COUNT':>9}{'ERRORS':>9}{'P50':>10}{'P99':>10}", "bold")
    ]
    names = [entry.name for entry in found.columns]
    for row in found.rows[: space.height - 1]:
        cell = dict(zip(names, row, strict=True))
        quantiles = "".join(
            f"{'-' if cell[q] is None else measured(cell[q], 's'):>10}" for q in ("p50_s", "p99_s")
        )
        name = clean(cell["name"])[:31]
        lines.append(f"{name:<32}{cell['count']:>9}{cell['errors']:>9}{quantiles}")
    return lines if found.rows else []
