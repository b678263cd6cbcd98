"""Sounds that take long to decode, on a real daemon: others are answered meanwhile."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Stack, UnixConnection
from inference_stack import CACHE
from media_files import Form, encode
from waiting import until

from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model

SECONDS = 10
INPUTS = 8
"""Of `SECONDS` in each request: 12 KB that take a third of a second to decode."""
LONG, SHORT = "/v1/models/silero-vad/run", "/v1/models/magika/run"
WEDGE_S = 5.0
"""Less than decoding three requests takes."""
_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def sounds() -> dict[str, Any]:
    form = Form("flac", "flac", 384_000, "s16", "7.1")
    wide = encode(np.zeros((8, SECONDS * 384_000), np.float32), form, rate=384_000)
    assert len(wide) < 20_000
    return {"inputs": [{"data": base64.b64encode(wide).decode()}] * INPUTS}


@pytest.fixture(scope="module", params=[1, 2], ids=["one-thread", "replicas"])
def stack(audio_store: ModelService, request: pytest.FixtureRequest) -> Iterator[Stack]:
    if not (CACHE / "models" / "magika").is_dir():
        pytest.skip("the model of file types is not here")
    env = {
        "STACKCTL_DEVICES__CPU_SETS": "[[0]]",
        "STACKCTL_MODELS__OFFLINE": "true",
        "STACKCTL_INFERENCE__WEDGE_TIMEOUT_S": str(WEDGE_S),
    }
    running = Stack(model=False, env=env)
    for name in ("silero-vad", "magika"):
        shutil.copytree(CACHE / "models" / name, running.home / "data" / "models" / name)
    with running:
        loaded = running.cli("models", "load", "magika", "--replicas", str(request.param))
        assert loaded.returncode == 0, loaded.stderr
        yield running


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as found:
        yield found


def short(stack: Stack) -> float:
    """Ask what a small file is; give how long that took."""
    began = time.monotonic()
    data = base64.b64encode(b"#!/bin/sh\necho hello\n" * 9).decode()
    stack.ok("POST", SHORT, {"inputs": [{"data": data}]})
    return time.monotonic() - began


def worker(stack: Stack) -> int:
    [pid] = until(stack.worker_pids)
    return pid


def spent_s(pid: int) -> float:
    """What a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def queued(stack: Stack) -> int:
    return sum(item["queued"] for item in stack.ok("GET", "/v1/devices")["items"])


def restarts(stack: Stack) -> int:
    return sum(item["worker_restarts"] for item in stack.ok("GET", "/v1/devices")["items"])


def at_it(stack: Stack) -> int:
    """Wait until the worker computes for the sounds, which begins with decoding; give its pid."""
    until(lambda: queued(stack))
    pid = worker(stack)
    begun = spent_s(pid)
    until(lambda: spent_s(pid) > begun + 0.3)
    return pid


def check(reply: Any) -> None:
    found = [result["value"]["duration_s"] for result in reply["items"]]
    assert found == [float(SECONDS)] * INPUTS


def asking(clients: ThreadPoolExecutor, stack: Stack, body: Any) -> Future[Any]:
    return clients.submit(stack.ok, "POST", LONG, body, timeout_s=300)


def test_others_are_answered_while_sounds_are_decoded(
    stack: Stack, sounds: dict[str, Any], clients: ThreadPoolExecutor
) -> None:
    stack.ok("POST", LONG, {"inputs": sounds["inputs"][:1]})
    short(stack)
    before = restarts(stack)
    began = time.monotonic()
    long = [asking(clients, stack, sounds) for _ in range(3)]
    at_it(stack)

    took = []
    while not any(call.done() for call in long):
        took.append(short(stack))
    for call in long:
        check(call.result())
    long_s = time.monotonic() - began

    print(f"{len(took)} answered, the slowest in {max(took):.3f} s, the sounds in {long_s:.1f} s")
    # Behind the decoder, three would have been: one between two requests.
    assert len(took) > 30
    assert max(took) < long_s / 8
    assert restarts(stack) == before, "decoding is a sign of life"


def test_requests_being_prepared_outlive_their_worker(
    stack: Stack, sounds: dict[str, Any], clients: ThreadPoolExecutor
) -> None:
    short(stack)
    long = asking(clients, stack, sounds)
    pid = at_it(stack)

    os.kill(pid, signal.SIGKILL)

    short(stack)
    check(long.result())
    assert worker(stack) != pid


def test_a_model_is_unloaded_once_what_it_prepares_is_answered(
    stack: Stack, sounds: dict[str, Any], clients: ThreadPoolExecutor
) -> None:
    long = asking(clients, stack, sounds)
    at_it(stack)

    stack.ok("POST", "/v1/models/silero-vad/unload", {}, timeout_s=300)

    assert long.done()
    check(long.result())
    assert "silero-vad" not in stack.ok("GET", "/v1/devices")["items"][0]["models"]
    check(stack.ok("POST", LONG, sounds, timeout_s=300))


def test_nothing_is_decoded_for_a_client_that_left(stack: Stack, sounds: dict[str, Any]) -> None:
    stack.ok("POST", LONG, {"inputs": sounds["inputs"][:1]})
    pid = worker(stack)
    begun = spent_s(pid)
    stack.ok("POST", LONG, sounds, timeout_s=300)
    whole_s = spent_s(pid) - begun

    connection = UnixConnection(stack.socket_path, 60)
    begun = spent_s(pid)
    connection.request(
        "POST",
        LONG,
        body=json.dumps(sounds).encode(),
        headers={"Content-Type": "application/json"},
    )
    at_it(stack)
    assert isinstance(connection, http.client.HTTPConnection)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    until(lambda: not queued(stack))
    short(stack)
    left_s = spent_s(pid) - begun
    short(stack)

    print(f"{left_s:.2f} s spent for who left, {whole_s:.2f} s for who did not")
    assert left_s < whole_s * 0.7
    assert spent_s(pid) - begun - left_s < whole_s / 4, "it goes on decoding"
    assert worker(stack) == pid
