"""A whole daemon on two replicas of Ray Serve: content, death of one, doors, and the end."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from harness import Stack
from inference_stack import direct, sentences
from proctree import command, cpu_s, tree

from stackctl_daemon.models.service import ModelService

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: nox -s ray"),
]
START_S = 240.0
END_S = 30.0


@pytest.fixture(scope="module")
def on_ray(fetched_model: Path) -> Iterator[Stack]:
    env = {"STACKCTL_DEVICES__RAY_REPLICAS": "2", "STACKCTL_DEVICES__GPUS": "off"}
    with Stack(env=env) as stack:
        stack.ok("POST", "/v1/embed", {"texts": ["warm"]}, timeout_s=START_S)
        yield stack


def _replicas(stack: Stack) -> list[int]:
    assert stack.process is not None
    return sorted(p for p in tree(stack.process.pid) if "ServeReplica" in command(p))


def _embed(stack: Stack, text: str) -> np.ndarray:
    reply = stack.ok("POST", "/v1/embed", {"texts": [text]}, timeout_s=120)
    return np.frombuffer(base64.b64decode(reply["vectors"]), "<f4")


def test_requests_are_answered_by_both_replicas_as_by_the_model_alone(
    on_ray: Stack, store: ModelService
) -> None:
    texts = sentences(200)
    replicas = _replicas(on_ray)
    before = [cpu_s(pid) for pid in replicas]

    with ThreadPoolExecutor(16) as clients:
        found = np.stack(list(clients.map(lambda text: _embed(on_ray, text), texts)))

    np.testing.assert_allclose(found, direct(store, texts), atol=2e-5)
    used = [cpu_s(pid) - cpu for pid, cpu in zip(replicas, before, strict=True)]
    assert len(used) == 2
    assert min(used) > 0.1 * max(used), used


def test_a_killed_replica_costs_no_answer_and_is_replaced(
    on_ray: Stack, store: ModelService
) -> None:
    texts = sentences(300)
    victim = _replicas(on_ray)[0]

    with ThreadPoolExecutor(16) as clients:
        calls = [clients.submit(_embed, on_ray, text) for text in texts]
        calls[40].result()
        os.kill(victim, signal.SIGKILL)
        found = np.stack([call.result() for call in calls])

    np.testing.assert_allclose(found, direct(store, texts), atol=2e-5)
    until = time.monotonic() + 60
    while victim in (now := _replicas(on_ray)) or len(now) < 2:
        assert time.monotonic() < until, now
        _embed(on_ray, texts[0])


def test_other_apis_and_kinds_of_error_are_the_daemon_s_own(on_ray: Stack) -> None:
    device = on_ray.ok("GET", "/v1/devices")["items"][0]
    assert (device["id"], device["worker_state"]) == ("ray:0", "ready")
    assert device["execution_provider"] == "CPUExecutionProvider"
    body = {"inputs": [{"text": "a river"}]}
    reply = on_ray.ok("POST", "/v1/models/default/run", body)
    assert reply["items"][0]["tensors"][0]["shape"] == [384]
    status, error = on_ray.request(
        "POST", "/v1/models/default/run", {**body, "options": {"dimensions": 64}}
    )
    assert (status, error["error"]["code"]) == (400, "invalid")
    openai = {"model": "all-minilm-l6-v2", "input": ["a river"]}
    assert len(on_ray.ok("POST", "/v1/embeddings", openai)["data"][0]["embedding"]) == 384


def test_nothing_listens_beyond_loopback(on_ray: Stack) -> None:
    assert on_ray.process is not None
    ours = {
        link
        for pid in tree(on_ray.process.pid)
        for file in Path(f"/proc/{pid}/fd").glob("*")
        if (link := _target(file)).startswith("socket:")
    }
    strays = []
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] != "0A" or f"socket:[{fields[9]}]" not in ours:
                continue
            raw = b"".join(bytes.fromhex(part)[::-1] for part in re.findall(".{8}", address))
            name = socket.inet_ntop(family, raw)
            if not name.startswith("127.") and name not in ("::1", "::ffff:127.0.0.1"):
                strays.append((name, int(port, 16)))

    assert strays == []


def test_everything_ends_with_the_daemon(fetched_model: Path, on_ray: Stack) -> None:
    assert on_ray.process is not None
    processes = tree(on_ray.process.pid)
    assert len(processes) > 5

    on_ray.stop()

    until = time.monotonic() + END_S
    while left := [p for p in processes if command(p)]:
        assert time.monotonic() < until, [command(p) for p in left]
        os.sched_yield()


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""
