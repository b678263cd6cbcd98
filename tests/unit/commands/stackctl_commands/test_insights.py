"""``stackctl insights`` against a scripted server: what people and programs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server import ControlServer, error

from stackctl.cli import insight_views
from stackctl.cli.output import Output
from stackctl.cli.run import run
from stackctl.cli.text import display_width
from stackctl.client.view import decode
from stackctl_commands.index import INDEX

ONE: dict[str, Any] = {
    "id": "latency-shift-1a2b3c4d",
    "kind": "latency-shift",
    "severity": "warning",
    "state": "open",
    "title": "model minilm answers in 57 ms, 2.9 times its usual 19.8 ms, for 25 min",
    "subject": {"model": "minilm"},
    "change": {"measure": "p50_s", "before": 0.0198, "after": 0.057, "unit": "s"},
    "began_us": 1_767_225_600_000_000,
    "seen_us": 1_767_227_100_000_000,
    "resolved_us": 0,
    "confidence": 0.93,
    "score": 2.1,
    "why": ["the median of 210 requests in 10 min is 57 ms; 19.8 ms is usual at this hour"],
    "query": {"measures": ["p50_s"], "kind": "request", "where": []},
    "evidence": [[1, 0.02, 0.02], [2, 0.06, 0.02]],
    "action": "stackctl models ps",
    "resolves": "the median of 10 min is below 1.4 times the usual",
    "muted_reason": "",
    "muted_until_us": 0,
}
MUTED = ONE | {"state": "muted", "muted_reason": "planned", "muted_until_us": ONE["seen_us"]}


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        (own_home / "run").chmod(0o700)
        path = f"/v1/insights/{ONE['id']}"
        running.routes |= {
            ("GET", "/v1/insights?state=open"): {
                "items": [ONE], "checked_us": ONE["seen_us"], "problem": "",
            },
            ("GET", "/v1/insights?state=all"): {"items": [], "checked_us": 0, "problem": ""},
            ("GET", path): ONE,
            ("POST", f"{path}/mute"): MUTED,
            ("POST", f"{path}/unmute"): ONE,
        }  # fmt: skip
        yield running


@pytest.fixture
def cli(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(("insights", *arguments), INDEX)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_list_names_what_changed(cli: Any) -> None:
    status, out, _ = cli("list")

    assert status == 0
    assert "latency-shift-1a2b3c4d" in out
    assert "2.9 times its usual" in out


def test_the_list_in_json_is_the_daemons_own(cli: Any) -> None:
    assert json.loads(cli("list", "--json")[1])["items"] == [ONE]


def test_an_empty_list_says_that_nobody_looked(cli: Any) -> None:
    status, out, err = cli("list", "--state", "all")

    assert (status, out) == (0, "")
    assert "has not looked" in err


def test_one_is_shown_with_why_and_what_to_do(cli: Any) -> None:
    out = cli("show", ONE["id"])[1]

    assert "why" in out
    assert "stackctl models ps" in out
    assert "93%" in out


def test_muting_needs_a_reason_and_says_how_to_take_it_back(
    cli: Any, server: ControlServer
) -> None:
    assert cli("mute", ONE["id"])[0] == 2

    status, out, _ = cli("mute", ONE["id"], "--reason", "planned", "--for", "2")

    assert status == 0
    assert f"stackctl insights unmute {ONE['id']}" in out
    assert server.seen[-1][2] == {"reason": "planned", "for_s": 7200.0}
    assert cli("unmute", ONE["id"])[1] == f"{ONE['id']} is open\n"


def test_an_unknown_one_is_not_found(cli: Any, server: ControlServer) -> None:
    server.routes["GET", "/v1/insights/x"] = (
        404, error("not_found", 'insight "x" not found', "stackctl insights list --state all"),
    )  # fmt: skip

    status, _, err = cli("show", "x")

    assert status == 4
    assert "fix: stackctl insights list --state all" in err


@pytest.mark.parametrize("state", [ONE, MUTED, ONE | {"state": "resolved", "resolved_us": 9}])
def test_sixty_columns_are_enough(state: dict[str, Any]) -> None:
    output = Output(width=60)
    insight = decode(json.dumps(state))

    lines = [*insight_views.insight_lines(output, insight)]
    lines += output.table([insight], insight_views.INSIGHTS)

    assert max(map(display_width, lines)) <= 60
    assert any("stackctl models ps" in line for line in lines)


def test_a_sparkline_is_from_nothing_to_the_most() -> None:
    assert insight_views.sparkline([0, 4, 8]) == "▁▄█"
    assert insight_views.sparkline([]) == ""
    assert insight_views.sparkline([0, 0]) == "▁▁"
    assert len(insight_views.sparkline([1.0] * 1000)) <= 40
