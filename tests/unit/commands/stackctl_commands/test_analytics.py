"""``stackctl analytics`` against a scripted server: what is asked and what is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server import ControlServer, script

from stackctl.cli.run import run
from stackctl_commands.index import INDEX

ANSWER = {
    "columns": [
        {"name": "name", "role": "group", "unit": ""},
        {"name": "count", "role": "measure", "unit": ""},
    ],
    "rows": [["search.query", 7]],
    "source": "minutes",
    "exact": True,
    "truncated": False,
    "elapsed_s": 0.002,
}
EVENT = {
    "kind": "job", "name": "index", "time_us": 1_790_000_040_123_000, "outcome": "ok",
    "error_code": "", "duration_s": 0.5, "model": "", "device": "", "uid": 0,
}  # fmt: skip


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        (own_home / "run").chmod(0o700)
        script(running)
        running.routes["POST", "/v1/analytics/query"] = ANSWER
        running.routes["POST", "/v1/analytics/sql"] = ANSWER
        tail = "/v1/analytics/events?after_seq=-1&limit=3&kind=job"
        running.routes["GET", tail] = {"items": [{"seq": 4, "event": EVENT}], "next_seq": 4}
        yield running


def asked(server: ControlServer, path: str) -> Any:
    return next(body for _, seen, body in server.seen if seen == path)


def test_a_query_asks_what_its_options_say(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--by name,model -m count -w outcome=error --window 2h --step 5m --compare -n 9"

    status = run(["analytics", "query", *options.split(), "--order", "-count"], INDEX)
    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME          COUNT",
        "search.query      7",
        "from minutes, 2 ms",
    ]
    assert asked(server, "/v1/analytics/query") == {
        "measures": ["count"],
        "group_by": ["name", "model"],
        "where": [{"field": "outcome", "op": "eq", "value": "error"}],
        "window_s": 7200,
        "step_s": 300,
        "kind": "",
        "order_by": "-count",
        "limit": 9,
        "others": False,
        "compare": True,
    }


def test_the_top_asks_for_the_rest_too(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analytics", "top", "name", "--json"], INDEX) == 0

    assert json.loads(capsys.readouterr().out) == ANSWER
    body = asked(server, "/v1/analytics/query")
    assert (body["order_by"], body["others"], body["limit"]) == ("-count", True, 10)


def test_a_select_goes_as_it_is(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analytics", "sql", "SELECT 1", "--plain"], INDEX) == 0

    assert capsys.readouterr().out == "search.query\t7\n"
    body = asked(server, "/v1/analytics/sql")
    assert body == {"sql": "SELECT 1", "limit": 100, "timeout_s": 10.0}


def test_a_tail_shows_events(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analytics", "tail", "-n", "3", "--kind", "job", "--quiet"], INDEX) == 0

    assert capsys.readouterr().out == "4\n"


@pytest.mark.parametrize("option", ["--window=x", "--where=x", "--measure=x", "--step=1.5"])
def test_what_is_wrong_is_said_before_anything_is_asked(
    server: ControlServer, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(["analytics", "query", option], INDEX) == 2

    assert "fix: stackctl analytics query --help" in capsys.readouterr().err
    assert not [path for _, path, _ in server.seen if "analytics" in path]
