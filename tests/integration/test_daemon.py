"""The real daemon as a process: start, second start, signals, reload, restart of jobs."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

pytestmark = pytest.mark.integration
WAIT_S = 30.0


class Home:
    """A home of its own, and the daemon in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = path / "run" / "stackctld.sock"
        self.env = {**os.environ, "STACKCTL_HOME": str(path), "STACKCTL_DEVICES__GPUS": '"off"'}

    def stackctld(self, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stackctl_daemon.main", *flags]
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def call(self, method: str, target: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("x", timeout=WAIT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(WAIT_S)
        try:
            connection.sock.connect(str(self.socket))
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, payload)
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        found: int = self.call("GET", "/v1/version")[1]["pid"]
        return found

    def configure(self, text: str) -> None:
        (self.path / "config").mkdir(exist_ok=True)
        (self.path / "config" / "stackctl.toml").write_text(text)

    def log(self) -> str:
        return (self.path / "state" / "stackctld.log").read_text()

    def await_log(self, text: str) -> None:
        until(lambda: text in self.log(), told=self.log)


def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    try:
        assert select.select([fd], [], [], WAIT_S)[0], f"{pid} still runs"
    finally:
        os.close(fd)


@pytest.fixture
def home() -> Iterator[Home]:
    path = Path(tempfile.mkdtemp(prefix="sd", dir="/tmp"))
    found = Home(path)
    try:
        yield found
    finally:
        try:
            pid = found.pid
        except OSError:
            pid = 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            gone(pid)
        shutil.rmtree(path)


def test_background_start_is_ready_and_a_second_daemon_is_refused(home: Home) -> None:
    first = home.stackctld()
    second = home.stackctld()
    third = home.stackctld("--foreground")

    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert (second.returncode, third.returncode) == (5, 5)
    assert f"already running (pid {home.pid})" in second.stderr
    status, reply = home.call("GET", "/v1/status")
    assert (status, reply["daemon"]["target"]) == (200, "all")
    assert {a["state"] for a in reply["areas"]} == {"ready"}


def test_sigterm_drains_and_removes_the_socket(home: Home) -> None:
    home.stackctld()
    pid = home.pid

    os.kill(pid, signal.SIGTERM)
    gone(pid)

    assert not home.socket.exists()
    assert "daemon_ended" in home.log()
    assert home.stackctld().returncode == 0


def test_kill_9_leaves_a_stale_socket_that_the_next_daemon_replaces(home: Home) -> None:
    home.stackctld()
    pid = home.pid
    os.kill(pid, signal.SIGKILL)
    gone(pid)

    assert home.socket.exists()
    assert home.stackctld().returncode == 0
    assert home.pid != pid


def test_shutdown_request_ends_the_daemon(home: Home) -> None:
    home.stackctld()
    pid = home.pid

    status, reply = home.call("POST", "/v1/shutdown")
    gone(pid)

    assert (status, reply) == (202, {"pid": pid})


def test_reload_is_all_or_nothing(home: Home) -> None:
    home.stackctld()
    home.configure("[daemon]\nmax_connections = 77\nbogus = 1\n")
    bad, error = home.call("POST", "/v1/config/reload")
    home.configure("[daemon]\nmax_connections = 77\n")
    os.kill(home.pid, signal.SIGHUP)
    home.await_log("config_reloaded")
    _, config = home.call("GET", "/v1/config")
    home.configure("[daemon]\nmax_connections = 78\n[search]\nrrf_k = 61\n")
    refused, _ = home.call("POST", "/v1/config/reload")
    home.configure('[daemon]\nmax_connections = 79\nlog_level = "LOUD"\n')
    loud, said = home.call("POST", "/v1/config/reload")
    _, after = home.call("GET", "/v1/config")

    assert (loud, said["error"]["code"]) == (409, "bad_config")
    assert (bad, error["error"]["code"]) == (409, "bad_config")
    assert "stackctl.toml:3" in error["error"]["message"]
    assert config["values"]["daemon"]["max_connections"] == 77
    assert refused == 409
    assert after["values"] == config["values"]


def test_bad_configuration_is_told_by_whoever_starts_it(home: Home) -> None:
    home.configure("[daemon]\nbogus = 1\n")

    started = home.stackctld()

    assert started.returncode == 78
    assert "stackctl.toml:2" in started.stderr


def test_corrupt_job_store_degrades_one_area_until_it_is_repaired(home: Home) -> None:
    (home.path / "data").mkdir(parents=True)
    (home.path / "data" / "jobs.db").write_bytes(b"rubbish " * 1000)
    started = home.stackctld()
    broken, _ = home.call("GET", "/v1/jobs")
    _, health = home.call("GET", "/v1/health")
    repaired, _ = home.call("POST", "/v1/repair", {"area": "jobs"})
    mended, jobs = home.call("GET", "/v1/jobs")

    assert started.returncode == 0
    assert (broken, repaired, mended) == (503, 200, 200)
    assert [a["name"] for a in health["areas"] if a["state"] == "degraded"] == ["jobs"]
    assert jobs == {"items": []}


@pytest.mark.parametrize("target", ["inference", "search", "analytics"])
def test_each_target_runs_alone(home: Home, target: str) -> None:
    started = home.stackctld("--target", target)

    assert started.returncode == 0, started.stderr
    status, reply = home.call("GET", "/v1/status")
    names = {area["name"] for area in reply["areas"]}
    assert status == 200
    assert target in names
    assert not ({"inference", "search", "analytics"} - {target}) & names
