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
