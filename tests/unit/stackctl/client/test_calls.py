"""Every group of calls against a real server: method, path and body are those of the routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import ControlServer, script

from stackctl.client import Client
from stackctl.client.jobs import ENDED


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        script(running)
        yield running


def test_reading_calls_decode_their_replies(server: ControlServer) -> None:
    client = Client()

    assert client.system.version().pid == 4242
    assert client.system.status().daemon.target == "all"
    assert client.system.config().sources == ["defaults"]
    assert client.system.reload().sources == ["defaults", "/c.toml"]
    assert client.system.repair("search").actions == ["rebuilt it"]
    assert client.models.list().items[0].state == "present"
    assert client.models.verify("all-minilm-l6-v2").ok
    assert client.devices.list().problems == ["no NVIDIA driver"]
    assert client.search.collections().items[0].sources[0].watched
    assert client.search.collection("default").chunks == 9
    assert client.jobs.list().items[0].id == "j1"
    assert client.analytics.summary(60).events_stored == 120


def test_writing_calls_send_the_contracts_bodies(server: ControlServer) -> None:
    client = Client()

    client.search.index(["/d"], collection="c", watch=True)
    client.search.query("q", limit=3, type="code")
    client.models.take("mine", "/m", licence="mit")
    client.models.remove("all-minilm-l6-v2")
    client.search.remove("default")
    client.analytics.record([{"id": "e"}])

    assert [body for _, _, body in server.seen] == [
        {"paths": ["/d"], "collection": "c", "watch": True, "force": False},
        {
            "query": "q",
            "collection": "default",
            "mode": "hybrid",
            "limit": 3,
            "path": "",
            "type": "code",
        },
        {"name": "mine", "path": "/m", "licence": "mit"},
        None,
        None,
        {"events": [{"id": "e"}]},
    ]


def test_watching_a_job_ends_with_its_last_state(server: ControlServer) -> None:
    states = [job.state for job in Client().jobs.watch("j1")]

    assert states[-1] in ENDED


def test_names_are_quoted_into_paths(server: ControlServer) -> None:
    server.routes["GET", "/v1/jobs/a%2Fb%20c"] = {"id": "a/b c"}

    assert Client().jobs.show("a/b c").id == "a/b c"
