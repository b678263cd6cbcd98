"""Search and inference as two daemons: vectors go over the other's socket."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness import Stack, UnixConnection

pytestmark = pytest.mark.integration


class Part(Stack):
    """A stack that runs one target alone, in the background."""

    def __init__(self, target: str, *, model: bool, env: dict[str, str] | None = None) -> None:
        super().__init__(model=model, env=env)
        self.target = target

    def start(self) -> None:
        """Start the target; it goes to the background when it serves."""
        command = [sys.executable, "-m", "stackctl_daemon.main", "--target", self.target]
        subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, check=True, timeout=60)

    def stop(self) -> None:
        """End it, if it runs."""
        with suppress(OSError):
            self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal that ends it, and wait until it has."""
        pid = self.ok("GET", "/v1/version")["pid"]
        watched = os.pidfd_open(pid)
        try:
            os.kill(pid, number)
            assert select.select([watched], [], [], 60)[0], f"{pid} still runs"
        finally:
            os.close(watched)


@pytest.fixture
def inference(fetched_model: Path) -> Iterator[Part]:
    part = Part("inference", model=True)
    with part:
        yield part


@pytest.fixture
def search(inference: Part) -> Iterator[Part]:
    env = {"STACKCTL_INFERENCE_SOCKET": str(inference.socket_path)}
    part = Part("search", model=False, env=env)
    with part:
        yield part


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(120):
        text = f"How to rotate keys, note {number}, on a day with weather {number}. " * 20
        (folder / f"n{number}.md").write_text(f"# Note {number}\n\n{text}\n")
    return folder


def _begun(search: Part, notes: Path) -> str:
    """Start indexing, and give the job's id when some files are done."""
    job_id: str = search.ok("POST", "/v1/index", {"paths": [str(notes)]})["id"]
    connection = UnixConnection(search.socket_path, 60)
    connection.request("GET", f"/v1/jobs/{job_id}/events")
    answer = connection.getresponse()
    while json.loads(answer.readline())["progress"]["done"] < 3:
        pass
    connection.close()
    return job_id


def _search(search: Part, mode: str) -> tuple[int, Any]:
    return search.request("POST", "/v1/search", {"query": "rotate keys", "mode": mode})


def test_search_embeds_through_the_other_daemon_and_outlives_its_restart(
    inference: Part, search: Part, notes: Path
) -> None:
    job_id = _begun(search, notes)
    inference.signal(signal.SIGKILL)
    inference.start()

    job = search.follow_job(job_id)

    assert job["state"] == "succeeded", job
    assert job["result"]["indexed"] == 120
    status, reply = _search(search, "semantic")
    assert status == 200
    assert reply["hits"]


def test_a_lost_inference_daemon_fails_the_job_clearly_and_keeps_what_was_indexed(
    inference: Part, search: Part, notes: Path
) -> None:
    job_id = _begun(search, notes)
    inference.signal(signal.SIGKILL)

    job = search.follow_job(job_id)
    semantic, error = _search(search, "semantic")
    keyword, _ = _search(search, "keyword")

    fix = f"env STACKCTL_HOME={inference.home} stackctld --target inference"
    assert (job["state"], job["error_code"]) == ("failed", "unreachable")
    assert f"no stackctld answers at {inference.socket_path}" in job["error_message"]
    assert job["error_hint"] == fix
    assert (semantic, error["error"]["hint"], keyword) == (503, fix, 200)
    inference.start()
    again = search.index(notes)["result"]
    assert again["indexed"] + again["unchanged"] == 120
    assert again["unchanged"] > 0


def test_the_commands_work_on_the_search_daemon_alone(search: Part, notes: Path) -> None:
    for command in (["index", str(notes / "n1.md")], ["search", "rotate keys"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "stackctl", *command],
            env=search.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
