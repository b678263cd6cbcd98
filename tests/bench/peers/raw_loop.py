"""The baseline as a process: ONNX Runtime in a loop, length-sorted, tokenising included.

Reads a JSON command a line and answers one: ``{"texts": [...], "batch": n, "seconds": s}``.
``batch`` 1 also gives the time of each call, of a text that is tokenised and computed alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

from encoder import Encoder

WINDOW = 64


def batches(encoder: Encoder, texts: list[str], size: int) -> Iterator[list[list[int]]]:
    """Give token ids of the texts, over and over: sorted within what 64 clients would send."""
    for start in cycle(range(0, len(texts), WINDOW)):
        rows = sorted(encoder.tokens(texts[start : start + WINDOW]), key=len)
        for at in range(0, len(rows), size):
            yield rows[at : at + size]


def loop(encoder: Encoder, source: Iterator[list[list[int]]], seconds: float) -> dict[str, Any]:
    """Embed batches for some time; give what was done and what it took."""
    done = 0
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows = next(source)
        encoder.compute(rows)
        done += len(rows)
    wall = time.perf_counter() - began
    return {"items": done, "wall_s": wall, "cpu_s": time.process_time() - cpu, "calls": []}


def single(encoder: Encoder, texts: list[str], seconds: float) -> dict[str, Any]:
    """Embed one text after another; give the time of each call too."""
    calls: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    for text in cycle(texts):
        before = time.perf_counter()
        if before - began >= seconds:
            break
        encoder.embed([text])
        calls.append(time.perf_counter() - before)
    wall = time.perf_counter() - began
    cpu = time.process_time() - cpu
    return {"items": len(calls), "wall_s": wall, "cpu_s": cpu, "calls": calls}


def main(graph: str, tokenizer: str, core: str) -> int:
    """Serve commands until standard input ends."""
    os.sched_setaffinity(0, {int(core)})
    encoder = Encoder(graph, tokenizer)
    sources: dict[tuple[str, int], Iterator[list[list[int]]]] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if command["batch"] == 1:
            found = single(encoder, command["texts"], command["seconds"])
        else:
            # Kept between windows, so that none pays for what another computes.
            key = command["texts"][0], command["batch"]
            if key not in sources:
                sources[key] = batches(encoder, command["texts"], command["batch"])
            found = loop(encoder, sources[key], command["seconds"])
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
