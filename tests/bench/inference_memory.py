"""What models take and give back, in bytes: ``python tests/bench/inference_memory.py``.

Each case runs in a process of its own. Proportional set sizes, from the kernel. Goals: four
replicas of MiniLM within 90 MB above a process's base; an eviction gives back 95 % or more.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from inference_stack import Copies, Sink, model_service, sentences, with_service

from stackctl.contracts.inference import LoadRequest
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding
from stackctl_daemon.inference.memory import pss_bytes, trim
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.inference.session import DevicePolicy

REPLICAS = 4
ROUNDS = 5
GOAL_REPLICAS_BYTES = 90_000_000
GOAL_BACK = 0.95
MB = 1e6


def replicas(*, share: bool) -> tuple[int, int]:
    """Give the growth of four replicas that each ran a batch, and what stays without them."""
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
    if len(sys.argv) > 1:
        print(*replicas(share=sys.argv[1] == "share"))
        return 0
    missed = 0
    for kind in ("plain", "share"):
        command = [sys.executable, __file__, kind]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        grown, kept = map(int, done.stdout.split())
        print(f"{REPLICAS} replicas, {kind:5}: {grown / MB:6.1f} MB, {kept / MB:.1f} MB stay")
        missed += kind == "share" and grown > GOAL_REPLICAS_BYTES
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
