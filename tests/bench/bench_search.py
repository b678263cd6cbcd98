"""Search latency at 1k and 100k chunks, as ratios of an exact numpy scan in the same run.

The store is filled through the product's own `Store.write` with clustered unit vectors and Zipf
text; each query runs the product's keyword and semantic arms, fusion and snippets. The baseline
is what the semantic half cannot do without: one float32 matrix product over all rows, and the
best 200. Rounds alternate. The embedding of the query is not part of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stackctl.contracts.search import SearchMode, SearchRequest
from stackctl.settings import SearchSettings
from stackctl_daemon.search.answering import answer
from stackctl_daemon.search.chunking import Chunk
from stackctl_daemon.search.store import NewDocument, Store

DIMS = 384
CHUNKS_PER_DOCUMENT = 20
WORDS = 30_000
FloatArray = npt.NDArray[np.float32]


def clustered(count: int, random: np.random.Generator, centres: FloatArray) -> FloatArray:
    """Give unit vectors around the centres, about as far from them as sentences are."""
    picked = centres[random.integers(0, len(centres), count)]
    made = picked + 0.8 * random.standard_normal((count, DIMS)).astype(np.float32) / DIMS**0.5
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def text(random: np.random.Generator, words: int) -> str:
    """Give words whose frequencies follow Zipf's law."""
    return " ".join(f"w{n % WORDS}" for n in random.zipf(1.15, words))


def fill(file: Path, vectors: FloatArray, random: np.random.Generator) -> float:
    """Write a collection; give the seconds that it took."""
    store = Store(file)
    store.ensure_collection("bench", [])
    began = time.perf_counter()
    documents = []
    for start in range(0, len(vectors), CHUNKS_PER_DOCUMENT):
        part = vectors[start : start + CHUNKS_PER_DOCUMENT]
        chunks = [Chunk(text(random, 100), "", None, 1, 9) for _ in part]
        path = f"/bench/{start}.txt".encode()
        documents.append(NewDocument(path, f"{start}", "text", 1, 1, b"", chunks, part))
        if len(documents) == 100:
            store.write("bench", "bench", documents)
            documents = []
    if documents:
        store.write("bench", "bench", documents)
    store.close()
    return time.perf_counter() - began


def quantile(values: list[float], q: float) -> float:
    """Give an exact quantile in milliseconds."""
    return float(np.quantile(values, q)) * 1000


def measure(chunks: int, queries: int) -> None:
    """Fill a store and print its latencies beside the baseline's."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((max(20, chunks // 200), DIMS)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = clustered(chunks, random, centres)
    asked = clustered(queries, random, centres)
    settings = SearchSettings()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        file = Path(name) / "search.sqlite"
        took = fill(file, vectors, random)
        store = Store(file, read_only=True)
        took_s: dict[str, list[float]] = {"numpy": [], "keyword": [], "semantic": [], "hybrid": []}
        found: list[float] = []
        modes: tuple[SearchMode, ...] = ("keyword", "semantic", "hybrid")
        for vector in asked:
            began = time.perf_counter()
            scores = vectors @ vector
            top = np.argpartition(-scores, 200)[:200]
            top = top[np.argsort(-scores[top])]
            took_s["numpy"].append(time.perf_counter() - began)
            # The commonest words are stop words in a real language: no query holds them.
            query = " ".join(f"w{n % WORDS}" for n in 100 + random.zipf(1.15, 4))
            for mode in modes:
                request = SearchRequest(query=query, collection="bench", mode=mode, limit=10)
                began = time.perf_counter()
                hits = (
                    answer(store, request, vector, settings)
                    if mode != "keyword"
                    else answer(store, request, None, settings)
                )
                took_s[mode].append(time.perf_counter() - began)
                if mode == "semantic":
                    # The best of all is found unless bits and rescoring lost it.
                    best = hits[0].semantic_score if hits else None
                    found.append(float(best is not None and best >= scores[top[0]] - 1e-4))
        store.close()
    base = statistics.median(took_s["numpy"]) * 1000
    print(f"{chunks} chunks, {queries} queries, filled at {chunks / took:,.0f} chunks/s")
    print(f"  {'':<22}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>11}")
    for kind, values in took_s.items():
        name = "numpy exact (baseline)" if kind == "numpy" else kind
        p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
        print(f"  {name:<22}{p50:>9.2f}{p99:>9.2f}{p50 / base:>10.2f}x")
    print(f"  best passage found: {statistics.mean(found):.3f} of queries")


def main() -> int:
    """Print the table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    for size in given.sizes:
        measure(size, given.queries)
    return 0


if __name__ == "__main__":
    sys.exit(main())
