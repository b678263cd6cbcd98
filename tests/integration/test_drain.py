"""The end of the daemon has a limit, whatever hangs in it: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Stack, UnixConnection, clean_environment

pytestmark = pytest.mark.integration
WAIT_S = 30.0

SERVE = """
import asyncio, contextlib, sys, threading, time
from stackctl import paths, settings as s
from stackctl_daemon import process, telemetry
from stackctl_daemon.app import App
from stackctl_daemon.http.registry import Reply, Route
from stackctl_daemon.jobs import JobKind

what, process.END_MARGIN_S = sys.argv[1], float(sys.argv[2])
app = None

async def deaf(*_):
    print("entered", flush=True)
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

async def handler(request):
    if what == "deaf":
        await deaf()
    elif what == "job":
        await app.jobs.submit("deaf", "deaf", {})
    elif what == "thread":
        await asyncio.to_thread(lambda: (print("entered", flush=True), time.sleep(3600)))
    elif what == "loop":
        print("entered", flush=True)
        while True:
            pass
    return Reply()

settings, sources = s.load()
paths.state_dir().mkdir(parents=True)
telemetry.configure(settings.daemon, paths.state_dir() / "stackctld.log", foreground=False)

class Stuck(App):
    def __init__(self, *arguments, **named):
        global app
        super().__init__(*arguments, **named)
        app = self
        self.jobs.register(JobKind("deaf", deaf, resumable=False))
        self.registry.add(Route("stuck.go", "POST", "/v1/stuck", "admin", handler, "hang"))

process.App = Stuck
sys.exit(process.run("analytics", foreground=False, ready=lambda: print("ready", flush=True)))
"""


class Stuck:
    """A daemon with one request or job that never ends."""

    def __init__(self, home: Path, what: str, margin_s: float) -> None:
        self.log = home / "state" / "stackctld.log"
        env = clean_environment() | {
            "STACKCTL_HOME": str(home),
            "STACKCTL_DAEMON__DRAIN_TIMEOUT_S": "0.2",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, what, str(margin_s)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.connection = UnixConnection(home / "run" / "stackctld.sock", WAIT_S)

    def hang(self) -> None:
        """Ask for what never ends, and wait until it has begun."""
        self.expect("ready")
        self.connection.request("POST", "/v1/stuck")
        self.expect("entered")

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        found = self.process.stdout.readline().strip()
        assert found == line, found

    def ended(self) -> tuple[int, str]:
        """Give the status and what was written to stderr."""
        _, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, errors


@contextmanager
def stuck(tmp_path: Path, what: str, margin_s: float) -> Iterator[Stuck]:
    found = Stuck(tmp_path / "h", what, margin_s)
    try:
        found.hang()
        yield found
    finally:
        found.process.kill()
        found.process.communicate()
        found.connection.close()


@pytest.mark.parametrize("what", ["deaf", "thread", "loop", "job"])
def test_nothing_that_hangs_outlives_the_limit(tmp_path: Path, what: str) -> None:
    with stuck(tmp_path, what, 3.0) as daemon:
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)

        status, errors = daemon.ended()

        assert time.monotonic() - began < 15
        assert status == 1
        assert "Timeout (" in errors, "the stacks of what hung are told"
        assert re.search(r'File ".+", line \d+ in ', errors)


def test_what_hangs_in_a_request_does_not_keep_the_areas_from_closing(tmp_path: Path) -> None:
    with stuck(tmp_path, "deaf", 8.0) as daemon:
        daemon.process.send_signal(signal.SIGTERM)

        daemon.ended()

        assert "handlers_not_ended tasks=1" in daemon.log.read_text()
        assert "daemon_ended" in daemon.log.read_text()


@pytest.mark.parametrize("what", ["deaf", "loop"])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, what: str) -> None:
    with stuck(tmp_path, what, 3600.0) as daemon:
        began = time.monotonic()
        # Signals of one kind that wait merge into one: two kinds are always two.
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGINT)

        status, _ = daemon.ended()

        assert status == 1
        assert time.monotonic() - began < 10
        assert "second signal=" in daemon.log.read_text()


def test_a_stopped_worker_does_not_hold_the_end(stack: Stack) -> None:
    stack.ok("POST", "/v1/embed", {"texts": ["warm"], "model": "default"})
    worker = stack.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()

    assert stack.stop() == 0

    assert time.monotonic() - began < 25
    assert not Path(f"/proc/{worker}").exists()
