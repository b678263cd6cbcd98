"""Where a request's time went: in the header of every reply, and the same in the store."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from harness import Stack, UnixConnection
from tiny_model import write_tokenizer
from tiny_seq2seq import write_graphs

pytestmark = pytest.mark.model

TIMES = re.compile(r"queue;dur=([\d.]+), batch;dur=([\d.]+), compute;dur=([\d.]+)")
SEQ2SEQ = """
adapter = "seq2seq"
max_tokens = 8
[options]
start = "[UNK]"
end = "orchard"
"""
TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def times_s(self) -> dict[str, float]:
        found = TIMES.fullmatch(self.headers["server-timing"])
        assert found, self.headers
        names = ("queue_s", "batch_s", "compute_s")
        return dict(zip(names, (float(ms) / 1e3 for ms in found.groups()), strict=True))


def ask(stack: Stack, path: str, body: Any, request: str, **headers: str) -> Said:
    connection = UnixConnection(stack.socket_path, 60)
    try:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, raw, {"X-Request-Id": request} | fields)
        answer: http.client.HTTPResponse = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Said(answer.status, told, answer.read())
    finally:
        connection.close()


@pytest.fixture
def stack(fetched_model: Path, tmp_path: Path) -> Iterator[Stack]:
    write_graphs(tmp_path)
    write_tokenizer(tmp_path)
    (tmp_path / "entry.toml").write_text(SEQ2SEQ)
    env = {"STACKCTL_DEVICES__CPU_SETS": "[[0]]", "STACKCTL_INFERENCE__MAX_QUEUED_TEXTS": "64"}
    with Stack(env=env) as running:
        running.ok("POST", "/v1/models/import", {"name": "titles", "path": str(tmp_path)})
        yield running


def stored(stack: Stack) -> list[dict[str, Any]]:
    """End the daemon, which loads what is left, and give the events."""
    import duckdb

    stack.stop()
    with duckdb.connect(str(stack.home / "data" / "analytics" / "analytics.duckdb")) as found:
        rows = found.execute("SELECT * FROM events").fetchall()
        names = [column[0] for column in found.description or []]
    events = [dict(zip(names, row, strict=True)) for row in rows]
    return [event | json.loads(event["attributes"]) for event in events]


REQUESTS: list[tuple[str, str, Any, int]] = [
    ("embed", "/v1/embed", {"texts": ["a", "b", "c"]}, 3),
    ("run", "/v1/models/minilm/run", {"inputs": [{"text": "a"}]}, 1),
    ("openai", "/v1/embeddings", {"model": "minilm", "input": ["a", "b"]}, 2),
    *(
        (name, path, {"query": "a", "documents": ["b", "c"]}, 3)
        for name, path in (("r1", "/v1/rerank"), ("r2", "/v2/rerank"), ("r3", "/rerank"))
    ),
    ("oip", "/v2/models/minilm/infer", {"inputs": [TENSOR]}, 2),
    ("oipv", "/v2/models/minilm/versions/1/infer", {"inputs": [TENSOR]}, 2),
]


def test_every_replys_header_says_what_the_store_says(stack: Stack) -> None:
    said = {name: ask(stack, path, body, name) for name, path, body, _ in REQUESTS}
    inputs = {name: count for name, _, _, count in REQUESTS}
    events = stored(stack)

    requests = {e["request_id"]: e for e in events if e["request_id"] in said}
    for name, reply in said.items():
        assert reply.status == 200, reply
        assert reply.headers["stackctl-device"] == "cpu:0"
        event = requests[name]
        assert (event["kind"], event["outcome"]) == ("request", "ok")
        assert (event["model"], event["device"]) == ("all-minilm-l6-v2", "cpu:0")
        assert event["items"] == inputs[name]
        assert event["tokens"] >= 3 * inputs[name]
        for key, seconds in reply.times_s.items():
            assert event[key] == pytest.approx(seconds, abs=1e-6)
        assert sum(reply.times_s.values()) <= event["duration_s"]
    batches = [e for e in events if e["kind"] == "inference"]
    computed = sum(event["compute_s"] for event in requests.values())
    assert computed == pytest.approx(sum(e["duration_s"] for e in batches), rel=1e-6)
    assert sum(e["tokens"] for e in batches) == sum(e["tokens"] for e in requests.values())
    assert sum(e["items"] for e in batches) == sum(inputs.values())
    assert {e["name"] for e in batches} == {"embedding"}
    assert all(e["padded_tokens"] >= e["tokens"] > 0 and e["queue_s"] >= 0 for e in batches)


def test_requests_that_share_batches_share_their_time(stack: Stack) -> None:
    texts = ["river copper lantern orchard " * (1 + i % 5) for i in range(4)]
    with ThreadPoolExecutor(8) as threads:
        said = list(
            threads.map(
                lambda i: ask(stack, "/v1/embed", {"texts": texts}, f"shared-{i}"), range(40)
            )
        )
    answered = [i for i, reply in enumerate(said) if reply.status == 200]
    events = stored(stack)

    requests = {e["request_id"]: e for e in events if e["request_id"].startswith("shared-")}
    batches = [e for e in events if e["kind"] == "inference"]
    assert len(batches) < sum(e["items"] for e in batches)
    assert sum(requests[f"shared-{i}"]["compute_s"] for i in answered) == pytest.approx(
        sum(e["duration_s"] for e in batches), rel=1e-6
    )


def test_a_streamed_answers_times_are_in_its_last_part_and_in_the_store(stack: Stack) -> None:
    body = {"inputs": [{"text": "copper"}], "stream": True, "options": {"max_new_tokens": 4}}
    reply = ask(stack, "/v1/models/titles/run", body, "streamed")
    whole = ask(stack, "/v1/models/titles/run", body | {"stream": False}, "whole")
    last = json.loads(reply.body.splitlines()[-1])["reply"]
    found = stored(stack)
    events = {e["request_id"]: e for e in found if e["request_id"]}

    named = {(e["name"], e["model"]) for e in found if e["kind"] == "inference"}
    assert ("generation", "titles") in named
    assert len(reply.body.splitlines()) > 2
    assert "server-timing" not in reply.headers  # it went out before anything was known
    assert whole.times_s["compute_s"] > 0
    event = events["streamed"]
    assert (event["model"], event["device"], event["items"]) == ("titles", "cpu:0", 1)
    for key in ("queue_s", "batch_s", "compute_s"):
        assert event[key] == pytest.approx(last[key])


def test_a_refused_request_says_how_long_it_waited(stack: Stack) -> None:
    texts = ["word " * 250] * 16
    late = {"inputs": [{"text": t} for t in texts], "timeout_s": 0.05}
    with ThreadPoolExecutor(16) as threads:
        full = list(
            threads.map(lambda i: ask(stack, "/v1/embed", {"texts": texts}, f"f{i}"), range(32))
        )
    timed_out = ask(stack, "/v1/models/minilm/run", late, "late")
    events = {e["request_id"]: e for e in stored(stack) if e["request_id"]}

    refused = [(f"f{i}", reply) for i, reply in enumerate(full) if reply.status == 429]
    assert refused
    for name, reply in refused:
        assert reply.headers["server-timing"] == "queue;dur=0.000"
        assert int(reply.headers["retry-after"]) >= 1
        assert (events[name]["model"], events[name]["queue_s"]) == ("all-minilm-l6-v2", 0.0)
        assert events[name]["error_code"] == "overloaded"
    assert timed_out.status == 504
    waited_ms = float(timed_out.headers["server-timing"].removeprefix("queue;dur="))
    assert waited_ms >= 50
    assert events["late"]["queue_s"] == pytest.approx(waited_ms / 1e3, abs=1e-5)
    assert np.isclose(events["late"]["duration_s"], waited_ms / 1e3, atol=0.5)
