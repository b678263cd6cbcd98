from __future__ import annotations

import itertools
from typing import Any

import pytest

from stackctl.contracts.analytics import Filter, Query
from stackctl.errors import Invalid
from stackctl_daemon.analytics.query_plan import Plan, plan

HOUR = 3_600_000_000
MINUTE = 60_000_000
NOW = 497_222 * HOUR + 30 * MINUTE + 5
"""Half an hour and five microseconds past a whole hour."""


def planned(**fields: Any) -> Plan:
    return plan(Query(**fields), NOW)


def pieces(found: Plan, **options: Any) -> list[tuple[str, int, int]]:
    whole = NOW // HOUR * HOUR
    read = found.pieces(rollups=True, **options)
    return [(p.source, p.since_us - whole, p.until_us - whole) for p in read]


def test_a_range_is_hours_then_minutes_then_events_at_its_edges() -> None:
    assert pieces(planned(window_s=8 * 3600)) == [
        ("events", -8 * HOUR + 30 * MINUTE + 5, -8 * HOUR + 31 * MINUTE),
        ("minutes", -8 * HOUR + 31 * MINUTE, -7 * HOUR),
        ("hours", -7 * HOUR, 0),
        ("minutes", 0, 30 * MINUTE),
        ("events", 30 * MINUTE, 30 * MINUTE + 5),
    ]


@pytest.mark.parametrize(
    ("fields", "sources"),
    [
        ({"window_s": 3600}, {"events", "minutes"}),
        ({"window_s": 60}, {"events"}),
        ({"window_s": 8 * 3600, "step_s": 3600}, {"events", "minutes", "hours"}),
        ({"window_s": 8 * 3600, "step_s": 1800}, {"events", "minutes"}),
        ({"window_s": 8 * 3600, "step_s": 90}, {"events"}),
        ({"window_s": 8 * 3600, "group_by": ["job_id"]}, {"events"}),
        ({"window_s": 8 * 3600, "group_by": ["attributes.k"]}, {"events"}),
        (
            {"window_s": 8 * 3600, "where": [Filter(field="items", op="gt", value=1)]},
            {"events"},
        ),
    ],
)
def test_rollups_are_read_where_they_tell_apart_what_is_asked(
    fields: dict[str, Any], sources: set[str]
) -> None:
    assert {source for source, _, _ in pieces(planned(**fields))} == sources


def test_pieces_cover_the_range_once_whatever_its_edges() -> None:
    for since, until in [(0, 1), (MINUTE, 2 * MINUTE), (1, 30 * HOUR - 1), (HOUR, 9 * HOUR)]:
        found = plan(Query(since_us=NOW + since, until_us=NOW + until), NOW).pieces(rollups=True)
        assert found[0].since_us == NOW + since
        assert found[-1].until_us == NOW + until
        assert all(a.until_us == b.since_us for a, b in itertools.pairwise(found))


def test_a_comparison_that_would_cut_buckets_reads_events() -> None:
    found = plan(Query(since_us=NOW - HOUR - 1, until_us=NOW, step_s=60, compare=True), NOW)

    assert {p.source for p in found.pieces(rollups=True, shift_us=found.length_us)} == {"events"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"group_by": ["colour"]}, 'group_by has "colour", expected kind, name'),
        ({"group_by": ["duration_s"]}, 'group_by has "duration_s"'),
        ({"group_by": ["name", "name"]}, "twice"),
        ({"group_by": ['attributes.a"b']}, "group_by has"),
        ({"kind": "requests"}, 'kind is "requests", expected request, inference'),
        ({"measures": []}, "measures is empty, expected some of count"),
        ({"order_by": "-colour"}, 'order_by is "-colour", expected count'),
        ({"order_by": "time"}, 'order_by is "time"'),
        ({"since_us": NOW}, "expected less than until_us"),
        ({"window_s": 315_360_000, "step_s": 1}, "this range expects 31536 or more"),
        ({"where": [Filter(field="x", value=1)]}, r'where\[0\].field has "x", .* duration_s'),
        ({"where": [Filter(field="name", value=1)]}, r"where\[0\].value is 1, expected text"),
        ({"where": [Filter(field="items", value="1")]}, "expected a number for items"),
        ({"where": [Filter(field="items", value=True)]}, "expected a number for items"),
        ({"where": [Filter(field="items", value=2**70)]}, "of 64 bits"),
        ({"where": [Filter(field="uid", value="root")]}, "expected a number for uid"),
        ({"where": [Filter(field="name", op="gt", value="a")]}, "allows eq, ne and in"),
        ({"where": [Filter(field="items", op="gt", value="a")]}, "expected a number"),
        ({"where": [Filter(field="items", op="prefix", value="a")]}, "a field of text"),
        ({"where": [Filter(field="name", op="in", value="a")]}, "a list of 1 to 1,000"),
        ({"where": [Filter(field="name", op="in", value=[])]}, "a list of 1 to 1,000"),
        ({"where": [Filter(field="attributes.a", value=[1])]}, "expected text or a number"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_allowed(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        planned(**fields)


def test_no_value_becomes_sql() -> None:
    found = planned(
        kind="job",
        group_by=["attributes.x'y"],
        where=[Filter(field="name", op="in", value=["'; DROP TABLE events; --"])],
    )

    assert [sql.text for sql in found.conditions] == ["kind = ?", "name IN (?)"]
    assert "x'y" not in found.groups[0].sql.text
