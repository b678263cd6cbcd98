"""Answers to typed questions and pages of events, from one cursor with one view of the store.

Refuses to open the store or to wait: whoever calls gives a cursor and bounds the time.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from stackctl.contracts.analytics import Column, EventPage, Query, QueryResult, StoredEvent
from stackctl.contracts.event import Event
from stackctl_daemon.analytics import rollup
from stackctl_daemon.analytics.frame import COLUMNS
from stackctl_daemon.analytics.query_plan import QUANTILES, Plan, plan
from stackctl_daemon.analytics.query_sql import select

EXACT_EVENTS = 200_000
"""Up to so many events in the range, quantiles are exact ones of events: about 30 ms."""
SKEW_US = 60_000_000
"""Events of a clock that is a little ahead are within a range that ends now."""
_OTHER_ROWS = 100_000
_HISTOGRAM_WEIGHT = 3
"""A histogram's row takes as long as so many events: each is ranked in its group."""
_UNITS = {"rate_per_s": "1/s"}


def answer(
    cursor: Any, query: Query, now_us: int, *, exact_events: int = EXACT_EVENTS
) -> QueryResult:
    """Answer a question; ``exact_events`` below 0 reads rollups wherever they hold all.

    Raises:
        Invalid: the question does not fit; the message names what and what is allowed.
    """
    began = time.perf_counter()
    planned = plan(query, now_us)
    cursor.begin()
    if not query.until_us:
        planned = plan(query, _newest(cursor, now_us))
    rollups = _rollups(cursor, planned, exact_events)
    rows, truncated = _rows(cursor, planned, rollups)
    cursor.rollback()
    sources = {piece.source for piece in planned.pieces(rollups=rollups)}
    quantiles = bool(planned.quantiles)
    return QueryResult(
        columns=_columns(planned),
        rows=rows,
        source="hours" if "hours" in sources else "minutes" if "minutes" in sources else "events",
        exact=not quantiles or sources == {"events"},
        truncated=truncated,
        elapsed_s=time.perf_counter() - began,
        since_us=planned.since_us,
        until_us=planned.until_us,
    )


def page(cursor: Any, after_seq: int, limit: int, kind: str) -> EventPage:
    """Give events behind a number, oldest first; behind -1 the last ``limit``."""
    columns = f"{', '.join(COLUMNS)}, seq"
    test, values = ("AND kind = ?", [kind]) if kind else ("", [])
    order = "DESC" if after_seq < 0 else "ASC"
    found = cursor.execute(
        f"SELECT {columns} FROM events WHERE seq > ? {test} ORDER BY seq {order} LIMIT ?",
        [after_seq, *values, limit],
    ).fetchall()
    if after_seq < 0:
        found.reverse()
    items = [StoredEvent(seq=row[-1], event=_event(row[:-1])) for row in found]
    return EventPage(items=items, next_seq=items[-1].seq if items else after_seq)


def _event(row: tuple[Any, ...]) -> Event:
    fields = dict(zip(COLUMNS, row, strict=True))
    return Event(**fields | {"attributes": msgspec.json.decode(fields["attributes"])})


def _newest(cursor: Any, now_us: int) -> int:
    """Give the end of a range up to now: behind the newest event of a clock a little ahead."""
    [(newest,)] = cursor.execute(
        "SELECT max(time_us) FROM events WHERE time_us >= ? AND time_us < ?",
        [now_us, now_us + SKEW_US],
    ).fetchall()
    return now_us if newest is None else int(newest) + 1


def _rollups(cursor: Any, planned: Plan, exact_events: int) -> bool:
    """Say whether to read rollups: where they hold all, and events would take longer."""
    if not planned.rolled_up:
        return False
    since = planned.since_us - (planned.length_us if planned.query.compare else 0)
    if not planned.dims_rest and rollup.overflowing(cursor, since, planned.until_us):
        return False
    if exact_events < 0:
        return True
    [(events,)] = cursor.execute(
        "SELECT coalesce(sum(count), 0) FROM hours WHERE bucket_us > ? AND bucket_us < ?",
        [since - rollup.HOUR_US, planned.until_us],
    ).fetchall()
    if int(events) <= exact_events:
        return False
    # Many groups with few events each: then rollups have as many rows, and more to do for each.
    weight = _HISTOGRAM_WEIGHT if planned.quantiles else 1
    rows = 0
    for piece in planned.pieces(rollups=True):
        if piece.source != "events":
            table = f"{piece.source}_histogram" if planned.quantiles else piece.source
            [(count,)] = cursor.execute(
                f"SELECT count(*) FROM {table} WHERE bucket_us >= ? AND bucket_us < ?",
                [piece.since_us, piece.until_us],
            ).fetchall()
            rows += int(count)
    rows *= 2 if planned.query.compare else 1
    return rows * weight < int(events)


def _rows(cursor: Any, planned: Plan, rollups: bool) -> tuple[list[list[Any]], bool]:
    query = planned.query
    kept = None
    most = query.limit + 1
    if query.others and planned.groups:
        kept = _kept(cursor, planned, rollups)
        most = _OTHER_ROWS
    statement = select(planned, rollups=rollups, kept=kept, most=most)
    found = cursor.execute(statement.text, statement.values).fetchall()
    rows = [list(row) for row in found]
    if kept is None:
        return rows[: query.limit], len(rows) > query.limit
    first = 1 if planned.step_us else 0
    for at, field in enumerate(planned.groups, first):
        if field.type == "uid":
            for row in rows:
                row[at] = row[at] if row[at] == rollup.OTHER else int(row[at])
    return rows, len(rows) == _OTHER_ROWS


def _kept(cursor: Any, planned: Plan, rollups: bool) -> list[list[Any]]:
    """Give the first ``limit`` groups of the whole range, the greatest first."""
    query = planned.query
    order = query.order_by
    if order.removeprefix("-") in ("", "time"):
        order = f"-{query.measures[0]}"
    changes = {"step_s": 0, "order_by": order, "others": False}
    whole = msgspec.structs.replace(planned.query, **changes)
    alone = plan(
        msgspec.structs.replace(whole, since_us=planned.since_us, until_us=planned.until_us),
        planned.until_us,
    )
    statement = select(alone, rollups=rollups, most=query.limit)
    found = cursor.execute(statement.text, statement.values).fetchall()
    return [list(row[: len(planned.groups)]) for row in found]


def _columns(planned: Plan) -> list[Column]:
    columns = (
        [Column(name="time_us", role="time", unit="us since epoch")] if planned.step_us else []
    )
    columns += [Column(name=field.name, role="group") for field in planned.groups]
    measures: list[str] = list(dict.fromkeys(planned.query.measures))
    for suffix in ("", "_before") if planned.query.compare else ("",):
        for name in measures:
            seconds = name in QUANTILES or name in ("mean_s", "max_s")
            unit = "s" if seconds else _UNITS.get(name, "")
            columns.append(Column(name=f"{name}{suffix}", role="measure", unit=unit))
    return columns
