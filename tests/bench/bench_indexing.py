"""Indexing and embedding through the daemon, as ratios of a raw ONNX Runtime loop.

The raw loop tokenises the same texts, sorts them by length, bounds padded tokens as the worker
does, and runs the same graph with the same threads in this process. Rounds alternate, so that
a busy machine slows both; the ratio and its spread are printed, never a time alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import Stack

from stackctl_daemon.models.bert_graph import build_graph

BATCH_TOKENS = 512


def raw_loop(model: Path, texts: list[str]) -> float:
    """Embed all texts with the best plain loop that we know; give seconds."""
    import numpy as np
    import onnxruntime as ort
    from tokenizers import Tokenizer

    state = raw_loop.__dict__
    if "session" not in state:
        options = ort.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = build_graph(model)
        state["session"] = ort.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        state["tokenizer"] = Tokenizer.from_file(str(model / "tokenizer.json"))
        state["tokenizer"].no_padding()
        state["tokenizer"].enable_truncation(256)
    started = time.perf_counter()
    rows = sorted((e.ids for e in state["tokenizer"].encode_batch(texts)), key=len)
    at = 0
    while at < len(rows):
        size = 1
        while at + size < len(rows) and len(rows[at + size]) * (size + 1) <= BATCH_TOKENS:
            size += 1
        batch = rows[at : at + size]
        width = len(batch[-1])
        ids = np.zeros((size, width), np.int64)
        mask = np.zeros((size, width), np.int64)
        for i, row in enumerate(batch):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        state["session"].run(
            ["sentence_embedding"],
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)},
        )
        at += size
    return time.perf_counter() - started


def real_texts(count: int) -> list[str]:
    """Take passages of the standard library's source, about 100 tokens each."""
    texts: list[str] = []
    for file in sorted(Path(os.__file__).parent.glob("*.py")):
        source = file.read_text(encoding="utf-8", errors="replace")
        texts += [source[i : i + 400] for i in range(0, len(source), 4000)]
        if len(texts) >= count:
            break
    return texts[:count]


def wait_for_job(stack: Stack, job: str) -> dict[str, Any]:
    """Follow a job's stream until it ends; give its last state."""
    while True:
        _, found = stack.request("GET", f"/v1/jobs/{job}")
        if found["state"] not in {"queued", "running"}:
            return dict(found)
        time.sleep(0.1)  # polling a job of many seconds; the figure comes from the job's own clock


def main() -> int:
    """Print both ratios; give 1 when an answer was an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = real_texts(options.texts)
    with Stack() as stack:
        model = Path(stack.home) / "data" / "models" / "all-minilm-l6-v2"
        stack.request("POST", "/v1/embed", {"texts": ["warm"]})
        raw_loop(model, texts[:8])
        ratios = []
        for _ in range(options.rounds):
            started = time.perf_counter()
            status, _ = stack.request("POST", "/v1/embed", {"texts": texts, "priority": "batch"})
            ours = time.perf_counter() - started
            if status != 200:
                return 1
            ratios.append(raw_loop(model, texts) / ours)
        report("embedding through the daemon / raw loop", ratios)
        ratios = []
        for number in range(3):
            with tempfile.TemporaryDirectory() as folder:
                for i, text in enumerate(texts):
                    (Path(folder) / f"{i:04d}.txt").write_text(text, encoding="utf-8")
                body = {"paths": [folder], "collection": f"bench{number}"}
                started = time.perf_counter()
                _, job = stack.request("POST", "/v1/index", body)
                ended = wait_for_job(stack, job["id"])
                ours = time.perf_counter() - started
                if ended["state"] != "succeeded":
                    print(json.dumps(ended, indent=1))
                    return 1
                ratios.append(raw_loop(model, texts) / ours)
        report("indexing files (walk to durable rows) / raw loop", ratios)
    return 0


def report(name: str, ratios: list[float]) -> None:
    """Print the median and the spread of interleaved rounds."""
    print(
        f"{name}: {statistics.median(ratios):.2f} of raw "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} rounds)"
    )


if __name__ == "__main__":
    sys.exit(main())
