"""What models take and give back, in bytes.

Each case runs in a process of its own. Proportional set sizes, from the kernel. Goals: four
replicas of MiniLM within 90 MB above a process's base; an eviction gives back 95 % or more.
``sessions`` are what replicas could be: four in one process, their weights packed or mapped.
``replicas`` are what they are, in the worker of a real daemon, beside a process that imported
what a worker imports: under load, and once nobody has asked for a second.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import Stack
from inference_stack import Copies, Sink, model_service, sentences, with_service

from stackctl.contracts.inference import LoadRequest
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding
from stackctl_daemon.inference.memory import pss_bytes, trim
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.session import DevicePolicy

MODEL = "all-minilm-l6-v2"
REPLICAS = 4
ROUNDS = 5
GOAL_REPLICAS_BYTES = 90_000_000
GOAL_BACK = 0.95
MB = 1e6


def sessions(*, share: bool) -> tuple[int, int]:
    """Give the growth of four sessions that each ran a batch, and what stays without them."""
    ready = asyncio.run(model_service().ready("default"))
    spec = ModelSpec(
        "m", ready.directory, ready.graph, ready.tokenizer, max_tokens=256, dimensions=384
    )
    policy = DevicePolicy("cpu", share_weights=share)
    base = pss_bytes()
    held = []
    for _ in range(REPLICAS):
        model = TextEmbedding(spec, policy.open)
        model.compute(model.prepare([Input(text=text) for text in sentences(8)], {}))
        held.append(model)
    trim()
    grown = pss_bytes() - base
    del held, model
    gc.collect()
    trim()
    return grown, pss_bytes() - base


def daemon_replicas(count: int) -> tuple[int, int]:
    """Give what a daemon's worker has above a base under load, and at rest."""
    code = (
        "import sys, stackctl_daemon.inference.worker_main\n"
        "import stackctl_daemon.inference.adapters.text_embedding\n"
        "print(flush=True); sys.stdin.read()"
    )
    settings = {"WARM_UP_S": "0", "DEFAULT_MODEL": "absent"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        Stack(env={f"STACKCTL_INFERENCE__{k}": v for k, v in settings.items()}) as stack,
        subprocess.Popen([sys.executable, "-P", "-c", code], **pipes) as bare,
        ThreadPoolExecutor(8) as callers,
    ):
        load = {"replicas": count, "device": "cpu:0"}
        stack.ok("POST", f"/v1/models/{MODEL}/load", load)
        [pid] = stack.worker_pids()
        assert bare.stdout
        bare.stdout.readline()
        base = pss_bytes(bare.pid)
        bodies = [{"texts": sentences(25), "model": MODEL}] * 40
        list(callers.map(lambda body: stack.ok("POST", "/v1/embed", body), bodies))
        loaded = pss_bytes(pid) - base
        lowest, until = loaded, time.monotonic() + 3
        while time.monotonic() < until and lowest > 0.97 * loaded:
            time.sleep(0.1)
            lowest = min(lowest, pss_bytes(pid) - base)
        bare.kill()
        return loaded, lowest


def evictions() -> list[tuple[str, int, int]]:
    """Give, of every unload through the service, its kind, what it had taken and gave back."""
    found: list[tuple[str, int, int]] = []

    async def body(service: InferenceService, sink: Sink) -> None:
        for _ in range(ROUNDS):
            for name in ("first", "second"):
                await service.control.load(name, LoadRequest())
                await service.embed_texts(sentences(40), model=name)
            for name, kind in (("second", "one of two"), ("first", "the last")):
                (gone,) = (await service.control.unload(name, "")).items
                found.append((kind, gone.memory_bytes, gone.returned_bytes))

    with_service(Copies(model_service()), body, warm_up_s=0, default_model="absent")
    return found


def main() -> int:
    """Print the figures; 1 where a goal is missed."""
    if sys.argv[1:] in (["plain"], ["share"]):
        print(*sessions(share=sys.argv[1] == "share"))
        return 0
    missed = 0
    for kind in ("plain", "share"):
        command = [sys.executable, __file__, kind]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        grown, kept = map(int, done.stdout.split())
        print(f"{REPLICAS} sessions, {kind:5}: {grown / MB:6.1f} MB, {kept / MB:.1f} MB stay")
    for count in (1, REPLICAS):
        loaded, rest = daemon_replicas(count)
        print(f"{count} replicas of a daemon: {loaded / MB:6.1f} MB, {rest / MB:.1f} MB at rest")
        missed += count == REPLICAS and rest > GOAL_REPLICAS_BYTES
    figures = evictions()
    for kind in ("one of two", "the last"):
        parts = [back / taken for what, taken, back in figures if what == kind]
        took = statistics.median(taken for what, taken, _ in figures if what == kind)
        print(
            f"unload {kind:10}: took {took / MB:5.1f} MB, back {min(parts):.2f} to"
            f" {max(parts):.2f} of it, median {statistics.median(parts):.2f}"
        )
        missed += min(parts) < GOAL_BACK
    print("goals met" if not missed else f"{missed} goals missed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
