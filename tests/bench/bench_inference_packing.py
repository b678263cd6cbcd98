"""MiniLM's graph that leaves padding out, beside the one that computes it along.

One core, one thread, the same weights and batches, the two in turn; CPU time of both, the ratio
as the median of the rounds and its range, and the largest difference between their vectors.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnxruntime as ort
from harness import model_cache

from stackctl_daemon.models.bert_graph import GRAPH_FILE, PADDED_FILE, build_graph

ROUNDS, ROUND_S = 9, 0.25
BATCHES = {
    "1 of 16": [16],
    "1 of 128": [128],
    "8 of 16": [16] * 8,
    "4 of 128": [128] * 4,
    "16 of 14 to 18": [14 + i % 5 for i in range(16)],
    "32 of 8 to 64": [8 + i * 56 // 31 for i in range(32)],
    "8 of 8 to 200": [8, 200, 30, 60, 100, 16, 24, 50],
}
MOST_LOST, LEAST_GAINED = 1.1, 0.8
"""Times the padded graph, without padding and with much of it; beyond, the run fails."""


def session(graph: Path) -> Any:
    """Open a graph as a worker does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def feed(lengths: list[int]) -> dict[str, Any]:
    """Give a batch of texts of so many tokens."""
    random, width = np.random.default_rng(5), max(lengths)
    mask = (np.arange(width)[None] < np.array(lengths)[:, None]).astype(np.int64)
    ids = random.integers(1000, 20_000, mask.shape) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def cpu_s(model: Any, batch: dict[str, Any], runs: int) -> float:
    """Give the CPU time of a run."""
    began = time.process_time()
    for _ in range(runs):
        model.run(["sentence_embedding"], batch)
    return (time.process_time() - began) / runs


def main() -> int:
    """Measure and print; 1 where packing loses where it must not, or gains nothing."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = model_cache() / "data" / "models" / "all-minilm-l6-v2"
    build_graph(model)
    packed, padded = session(model / GRAPH_FILE), session(model / PADDED_FILE)
    ratios: dict[str, float] = {}
    for name, lengths in BATCHES.items():
        batch = feed(lengths)
        outputs = [s.run(["sentence_embedding"], batch)[0] for s in (packed, padded)]
        runs = max(1, int(ROUND_S / cpu_s(padded, batch, 2)))
        pairs = [(cpu_s(packed, batch, runs), cpu_s(padded, batch, runs)) for _ in range(ROUNDS)]
        found = [a / b for a, b in pairs]
        ratios[name] = statistics.median(found)
        print(
            f"{name:16} {statistics.median(a for a, _ in pairs) * 1e3:7.2f} ms CPU packed, of"
            f" padded {ratios[name]:.2f} ({min(found):.2f}..{max(found):.2f}),"
            f" vectors differ by {np.abs(outputs[0] - outputs[1]).max():.0e}"
        )
    lost = max(ratios[name] for name in BATCHES if len(set(BATCHES[name])) == 1)
    return 1 if lost > MOST_LOST or ratios["8 of 8 to 200"] > LEAST_GAINED else 0


if __name__ == "__main__":
    sys.exit(main())
