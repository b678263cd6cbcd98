"""Insights of a real daemon over its real event store, kill -9 included."""

from __future__ import annotations

import json
import time

import pytest
from harness import Stack

pytestmark = pytest.mark.integration

MINUTE_US = 60_000_000


def _events(now_us: int) -> list[dict[str, object]]:
    """Five hours of a busy model and a steady heartbeat; the last 40 minutes are bad."""
    found: list[dict[str, object]] = []
    for ago in range(1, 301):
        time_us = now_us - ago * MINUTE_US
        found.append({"kind": "container", "name": "engine.health", "time_us": time_us})
        if ago <= 25 and ago % 5 == 0:
            found.append(
                {
                    "kind": "container",
                    "name": "gateway",
                    "time_us": time_us,
                    "outcome": "error",
                    "error_code": "exited",
                }
            )
        for number in range(4):
            bad = ago <= 20 and number < 2
            found.append(
                {
                    "kind": "request",
                    "name": "inference.embed",
                    "model": "minilm" if number % 2 else "rerank",
                    "uid": 1000 + number,
                    "duration_s": 0.02 + number / 1000,
                    "time_us": time_us + number,
                    "outcome": "error" if bad else "ok",
                    "error_code": "internal" if bad else "",
                }
            )
    return [{"id": f"e{number}"} | event for number, event in enumerate(found)]


def test_incidents_are_found_kept_over_kill9_and_muted() -> None:
    with Stack(model=False, env={"STACKCTL_INSIGHTS__INTERVAL_S": "0"}) as stack:
        stack.ok("POST", "/v1/events", {"events": _events(time.time_ns() // 1000)})
        found = stack.ok("POST", "/v1/insights/check")
        assert found["problem"] == ""
        kinds = {item["kind"]: item for item in found["items"]}
        assert kinds["crash-loop"]["subject"] == {"name": "gateway"}
        assert kinds["error-burst"]["subject"]["error_code"] == "internal"

        stack.kill9()
        stack.start()
        kept = stack.ok("GET", "/v1/insights")["items"]
        assert {item["id"] for item in kept} == {item["id"] for item in found["items"]}
        # The question of an insight can be asked as it is.
        burst = kinds["error-burst"]
        asked = {k: v for k, v in burst["query"].items() if v}
        answer = stack.ok("POST", "/v1/analytics/query", asked)
        assert answer["rows"]

        listed = stack.cli("insights", "list")
        assert burst["id"] in listed.stdout
        muted = stack.cli("insights", "mute", burst["id"], "--reason", "a test", "--json")
        assert json.loads(muted.stdout)["state"] == "muted"
        still = stack.ok("POST", "/v1/insights/check")["items"]
        assert burst["id"] not in {item["id"] for item in still}
        assert stack.cli("insights", "unmute", burst["id"][:16]).returncode == 0
