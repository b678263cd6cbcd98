from __future__ import annotations

import json
import subprocess
import sys

import msgspec

from stackctl.contracts.job import Job
from stackctl_daemon.http import openapi
from stackctl_daemon.http.registry import Query, Registry, Reply, Request, Route


async def _handler(request: Request) -> Reply:
    return Reply()


def test_parameters_streams_and_errors_are_described() -> None:
    registry = Registry()
    limit = Query("limit", int, 10, "How many.", 1, 100)
    registry.add(
        Route("a.list", "GET", "/v1/a/{id}", "read", _handler, "", None, Job, queries=(limit,)),
        Route("a.watch", "GET", "/v1/w", "read", _handler, "", None, Job, stream=True),
        Route("a.drop", "DELETE", "/v1/a/{id}", "admin", _handler, "", durable=True),
    )

    found = json.loads(openapi.encode(registry))

    listed = found["paths"]["/v1/a/{id}"]["get"]
    assert listed["operationId"] == "a.list"
    assert [p["in"] for p in listed["parameters"]] == ["path", "query"]
    assert listed["parameters"][1]["schema"] == {
        "type": "integer",
        "default": 10,
        "minimum": 1,
        "maximum": 100,
    }
    assert {"200", "400", "403", "404", "405", "408", "413", "429"} < set(listed["responses"])
    stream = found["paths"]["/v1/w"]["get"]["responses"]["200"]
    assert list(stream["content"]) == ["application/jsonl"]
    assert {"204", "507"} < set(found["paths"]["/v1/a/{id}"]["delete"]["responses"])


def test_routes_that_run_a_model_describe_the_headers_of_their_replies() -> None:
    registry = Registry()
    registry.add(
        Route("m.run", "POST", "/v1/m", "operate", _handler, "", None, Job, runs_model=True),
        Route("m.list", "GET", "/v1/m", "read", _handler, "", None, Job),
    )

    path = json.loads(openapi.encode(registry))["paths"]["/v1/m"]

    ran = path["post"]["responses"]
    assert set(ran["200"]["headers"]) == {"Server-Timing", "Stackctl-Device", "Stackctl-Truncated"}
    assert set(ran["429"]["headers"]) == {"Retry-After", "Server-Timing"}
    assert set(ran["504"]["headers"]) == {"Server-Timing"}
    assert "headers" not in path["get"]["responses"]["200"]
    assert set(path["get"]["responses"]["429"]["headers"]) == {"Retry-After"}


def test_the_routes_that_run_a_model_are_those_that_say_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stackctl_daemon.main", "--print-openapi"],
        capture_output=True, check=True,
    )  # fmt: skip
    paths = json.loads(done.stdout)["paths"]
    found = {
        path
        for path, methods in paths.items()
        for operation in methods.values()
        if "Stackctl-Device" in operation["responses"].get("200", {}).get("headers", {})
    }

    assert found == {
        "/v1/embed", "/v1/models/{name}/run", "/v1/embeddings", "/v1/completions",
        "/v1/chat/completions", "/v1/audio/transcriptions", "/v1/audio/translations",
        "/rerank", "/v1/rerank", "/v2/rerank", "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
    }  # fmt: skip


class Parcel(msgspec.Struct):
    """Something that is sent.

    It has a sender.
    """

    sender: str


def test_descriptions_are_not_indented() -> None:
    registry = Registry()
    registry.add(Route("p.send", "POST", "/v1/p", "read", _handler, "", Parcel))

    schema = json.loads(openapi.encode(registry))["components"]["schemas"]["Parcel"]

    assert schema["description"] == "Something that is sent.\n\nIt has a sender."


def test_printing_the_document_starts_nothing_and_never_changes() -> None:
    command = [sys.executable, "-m", "stackctl_daemon.main", "--print-openapi"]

    first = subprocess.run(command, capture_output=True, check=True, timeout=60)
    second = subprocess.run(command, capture_output=True, check=True, timeout=60)

    assert first.stdout == second.stdout
    assert "/v1/search" in json.loads(first.stdout)["paths"]
    assert first.stderr == b""
