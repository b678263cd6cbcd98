"""A daemon short of file descriptors goes on, and recovers when they come back."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Stack
from waiting import until

pytestmark = pytest.mark.integration

SETTLING = 8
"""Descriptors that the areas may still open after the first count; the connections are more."""


@pytest.fixture
def alone() -> Iterator[Stack]:
    with Stack(model=False, env={"STACKCTL_DEVICES__GPUS": '"off"'}) as stack:
        yield stack


@contextlib.contextmanager
def _idle(path: Path, count: int) -> Iterator[None]:
    """Hold connections that never ask for anything."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(path))
        yield


def _open(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _log(stack: Stack) -> str:
    return (stack.home / "state" / "stackctld.log").read_text()


def test_a_request_behind_connections_that_took_every_descriptor_is_served(alone: Stack) -> None:
    pid = alone.ok("GET", "/v1/version")["pid"]
    before = _open(pid)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + 20, hard))

    with ThreadPoolExecutor(1) as pool:
        with _idle(alone.socket_path, 100):
            until(lambda: "accept_failed" in _log(alone), told=lambda: _log(alone))
            waiting = pool.submit(alone.request, "GET", "/v1/status")
        status, _ = waiting.result(30)

    assert status == 200
    assert _log(alone).count("accept_failed") <= 3  # told when it begins, not at each try
    until(
        lambda: _open(pid) <= before + SETTLING, told=lambda: f"{_open(pid)} open, {before} before"
    )


class Limited(Stack):
    """A stack whose daemon may open 200 files and no more."""

    def start(self) -> None:
        """Start it; it goes to the background when it serves."""
        command = ["prlimit", "--nofile=200:200", sys.executable, "-m", "stackctl_daemon.main"]
        subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, check=True, timeout=60)

    def stop(self) -> int | None:
        """End it, and wait until it has."""
        pid = self.ok("GET", "/v1/version")["pid"]
        watched = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGTERM)
            assert select.select([watched], [], [], 60)[0], f"{pid} still runs"
        finally:
            os.close(watched)
        return None


def test_under_a_low_limit_connections_leave_the_daemon_its_own_descriptors() -> None:
    with Limited(model=False, env={"STACKCTL_DEVICES__GPUS": '"off"'}) as stack:
        pid = stack.ok("GET", "/v1/version")["pid"]
        before = _open(pid)

        with ThreadPoolExecutor(1) as pool:
            with _idle(stack.socket_path, 300):
                until(lambda: _open(pid) >= before + 72, told=lambda: _open(pid))
                waiting = pool.submit(stack.request, "GET", "/v1/status")
            status, _ = waiting.result(30)

        assert status == 200
        assert "accept_failed" not in _log(stack)
        until(
            lambda: _open(pid) <= before + SETTLING, told=lambda: f"{_open(pid)}, {before} before"
        )
