"""GET /metrics of a real daemon, as Prometheus's own parser reads it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from harness import Stack, UnixConnection

parser = pytest.importorskip("prometheus_client.parser", reason="the test extra has it")

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(connection: http.client.HTTPConnection, **headers: str) -> tuple[Values, dict[str, str]]:
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        assert answer.getheader("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    finally:
        connection.close()
    assert text.endswith("\n")
    values: Values = {}
    types = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation
        types[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in values
            values[key] = sample.value
    return values, types


def _scrape(stack: Stack) -> tuple[Values, dict[str, str]]:
    return _read(UnixConnection(stack.socket_path, 30))


def _get(values: Values, name: str, /, **labels: str) -> float:
    return values.get((name, tuple(sorted(labels.items()))), 0.0)


def test_counts_equal_the_requests_that_were_made(bare_stack: Stack) -> None:
    for _ in range(7):
        bare_stack.ok("GET", "/v1/version")
    for _ in range(3):
        assert bare_stack.request("POST", "/v1/events", {"events": []})[0] == 400
    event = {"id": "e", "kind": "user", "name": "click", "time_us": 1}
    bare_stack.ok("POST", "/v1/events", {"events": [event]})
    assert bare_stack.request("GET", "/nowhere")[0] == 404

    values, types = _scrape(bare_stack)

    def requests(name: str, outcome: str) -> float:
        return _get(values, "stackctl_requests_total", name=name, model="", outcome=outcome)

    # One more: the harness asked it whether the daemon answers.
    assert requests("system.version", "ok") >= 8
    versions = requests("system.version", "ok")
    assert requests("events.record", "error") == 3
    assert requests("events.record", "ok") == 1
    assert requests("http.unmatched", "error") == 1
    labels = {"name": "system.version", "model": ""}
    assert _get(values, "stackctl_request_duration_seconds_count", **labels) == versions
    assert (
        _get(values, "stackctl_request_duration_seconds_bucket", **labels, le="+Inf") == versions
    )
    assert _get(values, "stackctl_request_duration_seconds_sum", **labels) > 0
    assert types["stackctl_request_duration_seconds"] == "histogram"
    assert types["stackctl_requests"] == "counter"


def test_counters_never_fall_and_rise_by_what_happened(bare_stack: Stack) -> None:
    first, types = _scrape(bare_stack)
    for _ in range(5):
        bare_stack.ok("GET", "/v1/health")
    second, _ = _scrape(bare_stack)

    for (name, labels), value in first.items():
        base = name.removesuffix("_total").removesuffix("_count").removesuffix("_sum")
        base = base.removesuffix("_bucket")
        if types.get(base) in ("counter", "histogram"):
            assert second[name, labels] >= value, name
    health = {"name": "system.health", "model": "", "outcome": "ok"}
    rise = _get(second, "stackctl_requests_total", **health) - _get(
        first, "stackctl_requests_total", **health
    )
    scraped = {"name": "metrics.scrape", "model": "", "outcome": "ok"}
    assert rise == 5
    assert _get(second, "stackctl_requests_total", **scraped) == 1


def test_the_store_the_process_and_the_devices_are_told(bare_stack: Stack) -> None:
    events = [
        {"id": f"e{n}", "kind": "user", "name": "x", "time_us": 1_000_000 + n} for n in range(500)
    ]
    bare_stack.ok("POST", "/v1/events", {"events": events})
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "b"}}]}]}]}
    bare_stack.ok("POST", "/otlp/v1/logs", log)

    values, _ = _scrape(bare_stack)
    status = bare_stack.ok("GET", "/v1/status")

    assert _get(values, "stackctl_events_stored") >= 501
    assert _get(values, "stackctl_events_pending") == 0
    assert _get(values, "stackctl_events_dropped_total") == 0
    assert _get(values, "stackctl_otlp_records_total", signal="logs", outcome="stored") == 1
    assert _get(values, "stackctl_area_up", area="analytics") == 1
    assert _get(values, "process_resident_memory_bytes") > 10 << 20
    assert _get(values, "process_cpu_seconds_total") > 0.05
    for device in status["devices"]:
        total = _get(values, "stackctl_device_memory_total_bytes", device=device["id"])
        assert total == device["memory_total_bytes"]
    assert _get(values, "stackctl_jobs", state="running") == 0


def test_inferences_and_tokens_equal_what_was_computed(stack: Stack) -> None:
    tokens = 0
    for count in (1, 2, 3):
        reply = stack.ok("POST", "/v1/embed", {"texts": [f"text {n}" for n in range(count)]})
        tokens += reply["tokens"]
    assert stack.request("POST", "/v1/embed", {"texts": ["a"], "model": 'no"such\n'})[0] >= 400

    values, _ = _scrape(stack)

    model = "all-minilm-l6-v2"
    name = [labels for key, labels in values if key == "stackctl_inferences_total"]
    [operation] = {dict(labels)["name"] for labels in name}
    labels = {"name": operation, "model": model}
    assert _get(values, "stackctl_inference_tokens_total", **labels) == tokens
    assert _get(values, "stackctl_inference_items_total", **labels) == 6
    assert _get(values, "stackctl_inference_duration_seconds_sum", **labels) > 0
    models = {dict(labels).get("model", "") for _, labels in values}
    computed_s = _get(values, "stackctl_inference_duration_seconds_sum", **labels)
    assert _get(values, "stackctl_device_busy_seconds_total", device="cpu:0") == computed_s
    # What was never a model is counted, but not under its own name.
    assert models <= {"", model, "other"}


def test_the_apis_port_is_scraped_with_its_token() -> None:
    with Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        url = stack.ok("GET", "/v1/status")["api_url"].removeprefix("http://")
        token = json.loads(stack.cli("api", "token", "--json").stdout)["token"]
        connect: Callable[[], Any] = lambda: http.client.HTTPConnection(url, timeout=30)  # noqa: E731

        values, _ = _read(connect(), Authorization=f"Bearer {token}")
        refused = connect()
        refused.request("GET", "/metrics")
        assert refused.getresponse().status == 401
        refused.close()

    assert _get(values, "stackctl_area_up", area="analytics") == 1
