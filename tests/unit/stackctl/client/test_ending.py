from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import VERSION, ControlServer

from stackctl.client import Client
from stackctl.client.ending import stop
from stackctl.errors import TimedOut


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for the daemon: it ends when its input does."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as running:
        yield running


def _end(process: subprocess.Popen[bytes]) -> dict[str, int]:
    assert process.stdin is not None
    process.stdin.close()
    return {"pid": process.pid}


def test_nothing_to_stop_is_no_error() -> None:
    assert stop(Client()) is None


def test_stop_returns_when_the_process_is_gone(
    own_home: Path, process: subprocess.Popen[bytes]
) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        server.routes["GET", "/v1/version"] = {**VERSION, "pid": process.pid}
        server.routes["POST", "/v1/shutdown"] = lambda _: _end(process)

        assert stop(Client()) == process.pid

    assert process.wait(timeout=0) == 0


def test_a_daemon_that_stays_is_named(own_home: Path, process: subprocess.Popen[bytes]) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        server.routes["GET", "/v1/version"] = {**VERSION, "pid": process.pid}
        server.routes["POST", "/v1/shutdown"] = {"pid": process.pid}

        with pytest.raises(TimedOut, match=f"pid {process.pid}") as caught:
            stop(Client(), timeout_s=0.01)

    assert caught.value.hint == f"kill -TERM {process.pid}"
