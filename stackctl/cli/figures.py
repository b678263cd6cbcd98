"""How answers of the analytics and events read; refuses to ask the daemon anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stackctl.cli.output import Output
from stackctl.cli.table import Column
from stackctl.cli.text import clean, duration
from stackctl.client.view import encode

if TYPE_CHECKING:
    from stackctl.client import Client
    from stackctl.contracts.analytics import QueryResult, StoredEvent

OWN = "analytics.events"
"""Requests of this name are what following makes itself: each would show the one before."""
POLL_S = 1.0
_PAGE = 500
_NEEDED = 4  # columns that a narrow terminal keeps


def show(output: Output, result: QueryResult) -> None:
    """Print an answer: a table, its rows by tabs, or the whole object."""
    stamp = _stamp(result)
    columns = [_column(at, column, stamp) for at, column in enumerate(result.columns)]
    if output.mode == "text" and not columns:
        return
    output.items(
        result.rows, columns, empty="nothing in this range", whole=result, below=_below(result)
    )


def tail(
    output: Output,
    client: Client,
    count: int,
    *,
    kind: str,
    follow: bool,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Print the last events, oldest first; then, to follow, each new one but our own requests."""
    page = client.analytics.events(limit=count, kind=kind)
    while True:
        for stored in page.items:
            if not (follow and stored.event.name == OWN):
                output.line(stored, _line(output, stored))
        if not follow:
            return
        if len(page.items) < _PAGE:
            pause(POLL_S)  # the daemon has no stream of events: they are visible within a second
        page = client.analytics.events(after_seq=page.next_seq, limit=_PAGE, kind=kind)


def _below(result: QueryResult) -> Iterator[str]:
    exact = "" if result.exact else ", quantiles within 1 %"
    more = ", more rows with --limit" if result.truncated else ""
    yield f"from {result.source}{exact}, {duration(result.elapsed_s)}{more}"


def _stamp(result: QueryResult) -> str:
    """Give the shortest form that tells the times of an answer apart."""
    if not result.rows or result.columns[0].role != "time":
        return ""
    times = [time.localtime(row[0] // 1_000_000) for row in result.rows]
    form = "%H:%M" if all(moment.tm_sec == 0 for moment in times) else "%H:%M:%S"
    return form if len({moment.tm_yday for moment in times}) == 1 else f"%m-%d {form}"


def _column(at: int, column: Any, stamp: str) -> Column:
    return Column(
        _head(column),
        lambda row: _cell(column, row[at], stamp),
        lambda row: _json(row[at]),
        right=column.role == "measure",
        shrink=column.role in ("group", "value"),
        optional=column.role == "measure" and at >= _NEEDED,
    )


def _head(column: Any) -> str:
    if column.role == "value":
        return clean(column.name)
    name = column.name.removesuffix("_us") if column.role == "time" else column.name
    if column.role == "measure":
        name = name.replace("_per_s", "").replace("_s_", "_").removesuffix("_s")
    return str(name).replace("_", " ").upper()


def _cell(column: Any, value: Any, stamp: str) -> Any:
    if value is None or value == "":
        return None
    if column.role == "time":
        return time.strftime(stamp, time.localtime(value // 1_000_000))
    if column.role != "measure":
        return _json(value)
    if column.unit == "s":
        return duration(value)
    if column.unit == "1/s":
        return f"{value:.3g}/s"
    if column.name.startswith("error_rate"):
        return f"{value:.2%}"
    return value


def _json(value: Any) -> Any:
    """Give text and numbers as they are, the rest as JSON."""
    return value if value is None or type(value) in (str, int, float) else encode(value)


def _moment(time_us: int) -> str:
    """A time of the wire in the reader's zone, with milliseconds."""
    seconds, rest = divmod(time_us, 1_000_000)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{stamp}.{rest // 1000:03d}"


def _line(output: Output, stored: StoredEvent) -> str:
    event = stored.event
    if output.mode in ("plain", "quiet"):
        fields = (
            stored.seq, event.time_us, event.kind, event.name, event.outcome, event.error_code,
            event.duration_s, event.model, event.device, event.uid,
        )  # fmt: skip
        return clean(stored.seq) if output.mode == "quiet" else "\t".join(map(clean, fields))
    good = event.outcome == "ok"
    parts = [
        output.style(_moment(event.time_us), "dim"),
        output.style(event.outcome if good else event.error_code or "error", *_style(good)),
        clean(event.kind),
        clean(event.name),
        duration(event.duration_s) if event.duration_s else "",
        clean(event.model),
        clean(event.device),
    ]
    return " ".join(part for part in parts if part)


def _style(good: bool) -> tuple[str, ...]:
    return () if good else ("red",)
