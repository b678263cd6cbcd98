"""Who watches is not counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dashboard_server import event

from stackctl.client.view import decode
from stackctl.tui.watching import ROUTES, is_watching, left_out

MOST_CONDITIONS = 16  # of `stackctl.contracts.analytics.Query.where`
ROOT = Path(__file__).resolve().parents[4]


def test_the_conditions_are_as_many_as_a_query_may_have() -> None:
    found = left_out()

    assert len(found) <= MOST_CONDITIONS
    assert {condition["value"] for condition in found} == set(ROUTES)


@pytest.mark.parametrize(("name", "watches"), [("system.status", True), ("search.query", False)])
def test_only_requests_of_these_routes_watch(name: str, watches: bool) -> None:
    stored = decode(json.dumps(event(1, name=name)))
    other = decode(json.dumps(event(1, name=name, kind="span")))

    assert is_watching(stored.event) is watches
    assert not is_watching(other.event)


def test_every_name_that_is_left_out_only_reads() -> None:
    described = json.loads((ROOT / "daemon" / "openapi.json").read_text())
    methods = {
        route["operationId"]: method
        for path in described["paths"].values()
        for method, route in path.items()
    }

    changing = {name for name in ROUTES if methods.get(name, "get") != "get"}
    assert changing <= {"analytics.query", "analytics.sql"}
