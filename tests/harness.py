"""A real stack in a temporary home, for integration tests, fault runs and benchmarks.

Owns the processes it starts and nothing else. Uses the standard library alone, so that what is
measured or killed is the product and not the harness.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float):
        super().__init__("stackctl", timeout=timeout_s)
        self.socket_path = path

    def connect(self) -> None:
        """Connect; ``http.client`` calls this before the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.socket_path))


class Stack:
    """One daemon and its home; a context manager that starts and stops it.

    Args:
        home: used as ``STACKCTL_HOME`` and kept; None makes one and removes it at the end. Short
            by need: the path of a Unix socket has at most 107 bytes.
        model: put the embedding model's files into the home before the start.
        env: added to the environment of daemon and commands.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        model: bool = True,
        env: Mapping[str, str] | None = None,
    ):
        self._owned = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="sc", dir="/tmp"))
        self.home.mkdir(parents=True, exist_ok=True)
        self.env = clean_environment() | dict(env or {}) | {"STACKCTL_HOME": str(self.home)}
        self.process: subprocess.Popen[bytes] | None = None
        if model:
            provide_model(self.home)

    @property
    def socket_path(self) -> Path:
        """The daemon's control socket."""
        return self.home / "run" / "stackctld.sock"

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def start(self) -> None:
        """Start the daemon and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message has its output.
        """
        with (self.home / "daemon.out").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stackctl_daemon.main", "--foreground"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.home,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/v1/version", timeout_s=5)[0] == 200:
                    return
            # Waiting on the process is the pause: it ends at once when the daemon dies.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.02)
                raise RuntimeError(f"the daemon ended: {self.output()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise RuntimeError(f"the daemon did not answer: {self.output()}")

    def stop(self) -> int | None:
        """End the daemon by SIGTERM, by force when it overstays; give its exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process = None

    def kill9(self) -> None:
        """End the daemon by SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def output(self) -> str:
        """Give the end of what the daemon wrote to its terminal."""
        return (self.home / "daemon.out").read_text(errors="replace")[-4000:]

    def request(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = 60
    ) -> tuple[int, Any]:
        """Send one request and give the status and the decoded JSON body."""
        connection = UnixConnection(self.socket_path, timeout_s)
        try:
            payload = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"} if payload is not None else {}
            connection.request(method, path, body=payload, headers=headers)
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: Any = None, *, timeout_s: float = 60) -> Any:
        """Send one request that must succeed and give its decoded JSON body."""
        status, reply = self.request(method, path, body, timeout_s=timeout_s)
        assert 200 <= status < 300, f"{method} {path} gave {status}: {reply}"
        return reply

    def follow_job(self, job_id: str, *, timeout_s: float = 300) -> dict[str, Any]:
        """Read a job's event stream to its end and give its last state."""
        connection = UnixConnection(self.socket_path, timeout_s)
        last: dict[str, Any] = {}
        try:
            connection.request("GET", f"/v1/jobs/{job_id}/events")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            while line := answer.readline():
                if line.strip():
                    last = json.loads(line)
            return last
        finally:
            connection.close()

    def index(self, *paths: Path, collection: str = "default", **fields: bool) -> Any:
        """Index paths and wait for the job, which must succeed."""
        body = {"paths": [str(p) for p in paths], "collection": collection, **fields}
        job = self.follow_job(self.ok("POST", "/v1/index", body)["id"])
        assert job["state"] == "succeeded", job
        return job

    def cli(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``stackctl`` against this home; never raises for an exit status."""
        return subprocess.run(
            [sys.executable, "-m", "stackctl", *arguments],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def worker_pids(self) -> list[int]:
        """Give the pids of the device workers that run now."""
        devices = self.ok("GET", "/v1/devices")["items"]
        return [device["worker_pid"] for device in devices if device.get("worker_pid")]

    def _remove(self) -> None:
        if self._owned:
            shutil.rmtree(self.home, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """Give this process's environment without anything that configures stackctl."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STACKCTL_")}
    return kept | {"NO_COLOR": "1", "TERM": "dumb"}


def model_cache() -> Path:
    """Give a home that holds the default model, fetching it once for every run of this user.

    Raises:
        RuntimeError: no source gave the model; the message is the command's own.
    """
    home = Path.home() / ".cache" / "stackctl-tests"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            stack = Stack(home, model=False)
            stack.start()
            try:
                done = stack.cli("models", "pull", "default", timeout_s=600)
            finally:
                stack.stop()
            if done.returncode != 0:
                raise RuntimeError(f"models pull default gave {done.returncode}: {done.stderr}")
            (home / "complete").touch()
    return home


def provide_model(home: Path) -> None:
    """Copy the default model's files into a home.

    Copies and not links: a test may damage its model, and must not damage everybody's.
    Times are kept, because the daemon trusts an earlier hash only of the same size and time.
    """
    cached = model_cache()
    for area in ("data", "cache"):
        source = cached / area / "models"
        if source.is_dir():
            shutil.copytree(source, home / area / "models", dirs_exist_ok=True)


@contextlib.contextmanager
def bridge(socket_path: Path) -> Iterator[str]:
    """Carry TCP connections on loopback to a Unix socket; give the base URL.

    For test tools that speak only TCP; the product itself listens on no TCP port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                outside, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_carry, args=(outside, socket_path), daemon=True)
            thread.start()
            threads.append(thread)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # shutdown wakes a blocked accept; close alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join(timeout=5)


def _carry(outside: socket.socket, socket_path: Path) -> None:
    with outside, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as inside:
        try:
            inside.connect(str(socket_path))
        except OSError:
            return
        back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
        back.start()
        _pump(outside, inside)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        # Both ways: an answer that ends the connection must end the other pump's read too.
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def kill_quietly(pid: int) -> bool:
    """Send SIGKILL to a pid; False when it had ended already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
