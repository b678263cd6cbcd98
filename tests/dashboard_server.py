"""A scripted daemon with figures, events and insights at a fixed time, for the dashboard."""

from __future__ import annotations

from typing import Any

from control_server import MODEL, ControlServer, script

NOW_S = 1_772_359_200.0
"""2026-03-01 10:00:00 UTC."""
NOW_US = int(NOW_S * 1e6)
MINUTE_US = 60_000_000

INSIGHT = {
    "id": "i1",
    "kind": "latency-shift",
    "severity": "warning",
    "state": "open",
    "title": "search.query is 4.1 times slower: p95 rose from 21 ms to 86 ms",
    "subject": {"model": "all-minilm-l6-v2"},
    "change": {"measure": "p95_s", "before": 0.021, "after": 0.086, "unit": "s"},
    "began_us": NOW_US - 23 * MINUTE_US,
    "seen_us": NOW_US - MINUTE_US,
    "resolved_us": 0,
    "confidence": 0.97,
    "score": 8.5,
    "why": [
        "model all-minilm-l6-v2 explains 94 % of the change",
        "612 requests before, 598 after: traffic is the same",
    ],
    "query": None,
    "evidence": [
        [NOW_US - (45 - n) * MINUTE_US, 0.086 if n > 21 else 0.02 + 0.001 * (n % 4), 0.021]
        for n in range(45)
    ],
    "action": "stackctl models tune all-minilm-l6-v2",
    "resolves": "p95 stays below 32 ms for 10 minutes",
    "muted_reason": "",
    "muted_until_us": 0,
}
BURST = INSIGHT | {
    "id": "i2",
    "kind": "error-burst",
    "severity": "critical",
    "title": "31 of 40 requests of user 1001 fail with overloaded",
    "subject": {"uid": "1001", "error_code": "overloaded"},
    "change": {"measure": "error_rate", "before": 0.002, "after": 0.775, "unit": "ratio"},
    "began_us": NOW_US - 4 * MINUTE_US,
    "score": 9.9,
    "why": ["user 1001 sends 12 requests a second, 40 times as many as before"],
    "evidence": [],
    "action": "stackctl models load all-minilm-l6-v2 --max-queued 64",
}
INSIGHTS = {"items": [BURST, INSIGHT], "checked_us": NOW_US - 10_000_000, "problem": ""}
RUNNING = {
    "items": [
        {
            "model": "all-minilm-l6-v2",
            "version": "3f9c1a2b",
            "device": "cpu:0",
            "state": "ready",
            "execution_provider": "CPUExecutionProvider",
            "memory_bytes": 96 << 20,
            "load_s": 0.41,
            "used_at": "2026-03-01T09:59:58Z",
            "in_use": 2,
            "pinned": False,
            "expires_at": "2026-03-01T10:05:00Z",
            "batch_budget": 384,
            "replicas": 2,
            "latency_target_ms": 50.0,
            "latency_p95_ms": 41.0,
            "max_queued": 0,
            "timeout_s": 0.0,
            "aliases": ["minilm"],
        }
    ],
    "workers": [],
}


def event(seq: int, **fields: Any) -> dict[str, Any]:
    """Give a stored event; later numbers are later."""
    return {
        "seq": seq,
        "event": {
            "id": f"e{seq}",
            "kind": "request",
            "name": "search.query",
            "time_us": NOW_US - (50 - seq) * 1_000_000,
            "outcome": "ok",
            "error_code": "",
            "duration_s": 0.012 + 0.001 * (seq % 7),
            "items": 0,
            "tokens": 0,
            "model": "all-minilm-l6-v2",
            "device": "cpu:0",
            "job_id": "",
            "request_id": f"r{seq}",
            "uid": 1000,
            "attributes": {},
        }
        | fields,
    }


EVENTS = [
    *(event(seq) for seq in range(1, 40)),
    event(40, outcome="error", error_code="overloaded", uid=1001),
    event(41, name="models.run", model="whisper-tiny.en", duration_s=1.9),
]
FIELDS = list(EVENTS[0]["event"])


def trace_rows() -> list[list[Any]]:
    """Give a request and its inference as rows of the store, newest first."""
    whole = event(41, name="models.run", duration_s=1.9)["event"]
    inner = event(40, kind="inference", name="whisper-tiny.en", duration_s=1.2)["event"]
    inner |= {"request_id": "r41", "time_us": whole["time_us"] - 400_000, "id": "e40b"}
    return [
        [row[name] if name != "attributes" else "{}" for name in FIELDS] for row in (whole, inner)
    ]


def query(body: dict[str, Any]) -> dict[str, Any]:
    """Answer a typed query with a series or with groups."""
    measures = body["measures"]
    columns = [{"name": name, "role": "measure", "unit": ""} for name in measures]
    if body.get("group_by"):
        values = {"count": 1210, "errors": 31, "p50_s": 0.014, "p99_s": 0.091}
        head = [{"name": "name", "role": "group", "unit": ""}]
        rows = [[name, *(values[m] for m in measures)] for name in ("search.query", "models.run")]
        return _result(body, head + columns, rows)
    step_us = body["step_s"] * 1_000_000
    rows = []
    for number, begin in enumerate(range(body["since_us"], body["until_us"] or NOW_US, step_us)):
        slow = number > 36
        values = {
            "count": 14 + (number * 7) % 11,
            "errors": 9 if number > 55 else 0,
            "p50_s": 0.031 if slow else 0.012,
            "p99_s": 0.088 if slow else 0.024 + 0.002 * (number % 3),
        }
        rows.append([begin, *(values[measure] for measure in measures)])
    return _result(
        body, [{"name": "time", "role": "time", "unit": "us since epoch"}, *columns], rows
    )


def _result(body: dict[str, Any], columns: list[Any], rows: list[Any]) -> dict[str, Any]:
    return {
        "columns": columns,
        "rows": rows,
        "source": "events",
        "exact": True,
        "truncated": False,
        "elapsed_s": 0.004,
        "since_us": body.get("since_us", 0),
        "until_us": body.get("until_us", 0) or NOW_US,
    }


def sql(body: dict[str, Any]) -> dict[str, Any]:
    """Answer the trace of a request, or counts."""
    if "SELECT *" in body["sql"]:
        return _result(
            {}, [{"name": n, "role": "value", "unit": ""} for n in FIELDS], trace_rows()
        )
    columns = [{"name": name, "role": "value", "unit": ""} for name in ("kind", "name", "n")]
    return _result({}, columns, [["request", "search.query", 1210], ["job", "search.index", 3]])


def script_all(server: ControlServer) -> None:
    """Give a server every route that the dashboard asks."""
    script(server)
    tail = "/v1/analytics/events?after_seq={}&limit=200&kind={}"
    server.routes |= {
        ("GET", "/v1/models/running"): RUNNING,
        ("POST", "/v1/models/all-minilm-l6-v2/load"): RUNNING["items"][0],
        ("POST", "/v1/models/all-minilm-l6-v2/unload"): {"items": []},
        ("GET", "/v1/insights?state=open"): INSIGHTS,
        ("GET", "/v1/insights?state=all"): INSIGHTS,
        ("GET", "/v1/insights?state=muted"): INSIGHTS | {"items": []},
        ("POST", "/v1/insights/i2/mute"): BURST | {"state": "muted"},
        ("POST", "/v1/analytics/query"): query,
        ("POST", "/v1/analytics/sql"): sql,
        ("GET", tail.format(-1, "request")): {"items": EVENTS, "next_seq": 41},
        ("GET", tail.format(41, "request")): {"items": [], "next_seq": 41},
        ("GET", tail.format(-1, "inference")): {"items": [], "next_seq": -1},
        ("GET", "/v1/models"): {"items": [MODEL, MODEL | {"name": "magika", "state": "absent"}]},
    }
