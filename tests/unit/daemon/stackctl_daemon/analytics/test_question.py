from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl.contracts.analytics import Filter, Query
from stackctl.contracts.event import Event
from stackctl_daemon.analytics.frame import decode_rows, encode_frame
from stackctl_daemon.analytics.question import answer, page
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.store import Store

NOW = 1_790_000_000_000_000
EVENTS: list[dict[str, Any]] = [
    {"name": "a", "uid": 1, "duration_s": 1.0, "attributes": {"http.status": 200, "ok": True}},
    {"name": "a", "uid": 2, "duration_s": 3.0, "attributes": {"http.status": 500}},
    {"name": "b%", "uid": 2, "duration_s": 2.0, "attributes": {"k": "x"}, "outcome": "error"},
    {"name": "c", "uid": -1, "duration_s": 0.0, "job_id": "j1", "kind": "job"},
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "analytics.duckdb")
    given = [
        Event(id=f"e{n}", time_us=NOW - 10_000_000 + n, **{"kind": "request"} | fields)
        for n, fields in enumerate(EVENTS)
    ]
    data = encode_frame(given)
    opened.insert(decode_rows(data, 0, len(data)), Position(1, 1))
    yield opened
    opened.close()


def ask(store: Store, **fields: Any) -> list[list[Any]]:
    with store.reading() as cursor:
        return answer(cursor, Query(**fields), NOW).rows


@pytest.mark.parametrize(
    ("field", "op", "value", "count"),
    [
        ("name", "eq", "a", 2),
        ("name", "ne", "a", 2),
        ("name", "prefix", "b%", 1),
        ("name", "eq", "' OR 1=1 --", 0),
        ("uid", "in", [1, "2"], 3),
        ("duration_s", "ge", 2, 2),
        ("duration_s", "lt", 1.5, 2),
        ("job_id", "eq", "j1", 1),
        ("attributes.http.status", "eq", 500, 1),
        ("attributes.http.status", "ge", 300, 1),
        ("attributes.ok", "eq", True, 1),
        ("attributes.k", "prefix", "x", 1),
        ("attributes.k", "eq", "", 3),
    ],
)
def test_conditions_keep_what_they_say(
    store: Store, field: str, op: Any, value: Any, count: int
) -> None:
    wanted = [Filter(field=field, op=op, value=value)]

    assert ask(store, measures=["count"], where=wanted) == [[count]]


def test_groups_by_attribute_and_order_by_measure(store: Store) -> None:
    found = ask(
        store, measures=["count", "mean_s"], group_by=["attributes.http.status"],
        order_by="-mean_s",
    )  # fmt: skip

    assert found == [["500", 1, 3.0], ["", 2, 1.0], ["200", 1, 1.0]]


def test_nothing_is_one_row_of_zeros_or_no_group(store: Store) -> None:
    measures = ["count", "errors", "error_rate", "rate_per_s", "p50_s", "users"]
    span = {"since_us": 1, "until_us": 1_000_001}

    assert ask(store, measures=measures, **span) == [[0, 0, None, 0.0, None, 0]]
    assert ask(store, measures=measures, group_by=["name"], **span) == []


def test_a_comparison_shows_what_is_gone(store: Store) -> None:
    found = ask(
        store, measures=["count", "p50_s"], compare=True, group_by=["name"],
        since_us=NOW - 9_000_000, until_us=NOW,
    )  # fmt: skip

    assert found == [["a", 0, None, 2, 2.0], ["b%", 0, None, 1, 2.0], ["c", 0, None, 1, 0.0]]


def test_what_the_limit_cuts_is_said_or_summed(store: Store) -> None:
    fields: dict[str, Any] = {"measures": ["count"], "group_by": ["uid"], "order_by": "-count"}
    with store.reading() as cursor:
        cut = answer(cursor, Query(limit=1, **fields), NOW)

    assert (cut.rows, cut.truncated) == ([[2, 2]], True)
    assert ask(store, limit=1, others=True, **fields) == [[2, 2], ["(other)", 2]]


def test_a_range_up_to_now_has_the_newest_event_of_a_clock_ahead(store: Store) -> None:
    with store.reading() as cursor:
        behind = answer(cursor, Query(measures=["count"]), NOW - 11_000_000)
        far = answer(cursor, Query(measures=["count"]), NOW - 80_000_000)

    assert (behind.rows, far.rows) == ([[4]], [[0]])
    assert behind.until_us == NOW - 10_000_000 + 4


def test_pages_go_on_where_the_last_one_ended(store: Store) -> None:
    with store.reading() as cursor:
        last = page(cursor, -1, 2, "")
        first = page(cursor, 0, 2, "request")
        end = page(cursor, first.next_seq, 2, "request")

    assert [stored.seq for stored in last.items] == [2, 3]
    assert [stored.seq for stored in first.items] == [1, 2]
    assert (end.items, end.next_seq) == ([], 2)
    assert first.items[0].event.attributes == {"http.status": 500}
