from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stackctl.contracts.analytics import Filter, SqlRequest
from stackctl.contracts.analytics import Query as AnalyticsQuery
from stackctl.contracts.event import EventAck, EventBatch, Summary
from stackctl.errors import Denied, Invalid
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.routes import routes
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.events import new_event
from stackctl_daemon.http.registry import Registry, Request

STRANGER = 4_242_424


def call(
    directory: Path, *requests: tuple[str, str, Any, dict[str, Any]], uid: int = 0
) -> list[Any]:
    """Run requests through the registry as the edge does, after its own checks."""

    async def main() -> list[Any]:
        service = AnalyticsService(AnalyticsSettings(), directory)
        registry = Registry()
        registry.add(*routes(service))
        await service.start()
        bodies = []
        try:
            for method, path, body, query in requests:
                found = registry.match(method, path)
                assert isinstance(found, tuple)
                request = Request("r", method, path, found[1], query, body, uid)  # type: ignore[arg-type]
                bodies.append((await found[0].handler(request)).body)
        finally:
            await service.close()
        return bodies

    return asyncio.run(main())


def batch(count: int) -> EventBatch:
    return EventBatch(events=[new_event("user", "a") for _ in range(count)])


def test_events_are_acknowledged_and_summed_up(tmp_path: Path) -> None:
    ack, summary = call(
        tmp_path,
        ("POST", "/v1/events", batch(10_000), {}),
        ("GET", "/v1/analytics/summary", None, {"window_s": 60.0}),
    )

    assert ack == EventAck(accepted=10_000)
    assert isinstance(summary, Summary)
    assert (summary.rows[0].count, summary.events_pending) == (10_000, 0)


@pytest.mark.parametrize("count", [0, 10_001])
def test_batch_out_of_range_is_invalid(tmp_path: Path, count: int) -> None:
    with pytest.raises(Invalid, match="10000"):
        call(tmp_path, ("POST", "/v1/events", batch(count), {}))


def told(**fields: Any) -> EventBatch:
    return EventBatch(events=[new_event(**{"kind": "user", "name": "a"} | fields)])


def test_events_belong_to_who_sends_them(tmp_path: Path) -> None:
    *_, page = call(
        tmp_path,
        ("POST", "/v1/events", told(), {}),
        ("POST", "/v1/events", told(uid=STRANGER), {}),
        ("GET", "/v1/analytics/events", None, {"after_seq": -1, "limit": 9, "kind": ""}),
        uid=STRANGER,
    )

    assert [stored.event.uid for stored in page.items] == [STRANGER] * 2


@pytest.mark.parametrize(
    ("fields", "uid", "text"),
    [({"uid": 0}, STRANGER, "uid is 0"), ({"kind": "audit"}, 0, "audit")],
    ids=["of another user", "of the daemon"],
)
def test_events_of_others_are_denied(
    tmp_path: Path, fields: dict[str, Any], uid: int, text: str
) -> None:
    with pytest.raises(Denied, match=text):
        call(tmp_path, ("POST", "/v1/events", told(**fields), {}), uid=uid)


def test_an_attribute_is_compared_with_a_number_whatever_others_hold(tmp_path: Path) -> None:
    where = [
        Filter(field="attributes.x", value=1.5),
        Filter(field="attributes.x", op="in", value=[1.5, 7]),
    ]
    *_, found = call(
        tmp_path,
        ("POST", "/v1/events", told(attributes={"x": "abc"}), {}),
        ("POST", "/v1/events", told(attributes={"x": 1.5}), {}),
        ("POST", "/v1/analytics/query", AnalyticsQuery(measures=["count"], where=where), {}),
    )

    assert found.rows == [[1]]


def test_routes_declare_permission_cap_and_bounds(tmp_path: Path) -> None:
    post, get, *questions = routes(AnalyticsService(AnalyticsSettings(), tmp_path))

    assert (post.permission, post.max_body_bytes) == ("operate", 8 << 20)
    (query,) = get.queries
    assert {r.name: r.permission for r in questions} == {
        "analytics.query": "read",
        "analytics.sql": "admin",  # it is bounded in neither memory nor time by DuckDB
        "analytics.events": "read",
    }
    assert (query.default, query.minimum, query.maximum) == (3600.0, 1, 31_536_000)


def test_questions_are_answered_with_what_was_just_stored(tmp_path: Path) -> None:
    _, figures, rows, first, rest = call(
        tmp_path,
        ("POST", "/v1/events", batch(30), {}),
        ("POST", "/v1/analytics/query", AnalyticsQuery(group_by=["kind"], measures=["count"]), {}),
        ("POST", "/v1/analytics/sql", SqlRequest(sql="SELECT count(*) AS n FROM events"), {}),
        ("GET", "/v1/analytics/events", None, {"after_seq": -1, "limit": 20, "kind": "user"}),
        ("GET", "/v1/analytics/events", None, {"after_seq": 27, "limit": 20, "kind": ""}),
    )

    assert (figures.rows, [c.role for c in figures.columns]) == (
        [["user", 30]],
        ["group", "measure"],
    )
    assert (rows.rows, rows.columns[0].name) == ([[30]], "n")
    assert [stored.seq for stored in first.items] == list(range(10, 30))
    assert [stored.seq for stored in rest.items] == [28, 29]
    assert (rest.next_seq, rest.items[0].event.name) == (29, "a")


def test_an_unknown_kind_of_a_tail_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="expected request"):
        call(
            tmp_path,
            ("GET", "/v1/analytics/events", None, {"after_seq": -1, "limit": 1, "kind": "x"}),
        )
