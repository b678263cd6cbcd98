"""nDCG@10 of the product on the Cranfield collection; exit status 1 below the gate.

Every abstract becomes a file, a real daemon indexes the folder with the real model, and each
query is asked in the three modes. Gain is 5 - grade for grades 1 to 4; judgements number the
queries by position. Run: ``python tests/quality/cranfield.py [--data DIR]``.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import Stack

MODES = ("keyword", "semantic", "hybrid")
HYBRID_AT_LEAST = 0.41
GAIN_OVER_EACH = 0.03
DEPTH = 10
DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"

Search = Callable[[str, str], Sequence[str]]
"""From query and mode to the paths of the hits, best first."""


def records(path: Path) -> list[dict[str, str]]:
    """Read a Cranfield file: one dictionary of fields (T, W, ...) a record, in order."""
    found: list[dict[str, str]] = []
    field = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        mark = re.match(r"\.([ITABW])(?: (\d+))?\s*$", line)
        if mark and mark[1] == "I":
            found.append({"I": mark[2] or ""})
        elif mark:
            field = mark[1]
            found[-1].setdefault(field, "")
        elif found and field:
            found[-1][field] = f"{found[-1][field]}{line}\n"
    return found


def gains(path: Path) -> dict[int, dict[str, int]]:
    """Read the judgements: query position to document id to gain."""
    found: dict[int, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, document, grade = (int(part) for part in line.split())
        if 1 <= grade <= 4:
            found.setdefault(query, {})[str(document)] = 5 - grade
    return found


def write_files(documents: Sequence[dict[str, str]], folder: Path) -> None:
    """Write each document with text as ``ID.txt``: title, empty line, abstract."""
    for document in documents:
        title, body = document.get("T", "").strip(), document.get("W", "").strip()
        if body.startswith(title):
            # The collection repeats the title at the head of the abstract.
            body = body[len(title) :].strip()
        if title or body:
            text = f"{title}\n\n{body}\n"
            (folder / f"{document['I']}.txt").write_text(text, encoding="utf-8")


def ndcg(ranked: Sequence[str], gain: dict[str, int]) -> float:
    """Give nDCG at 10 of document ids, best first."""
    got = sum(gain.get(d, 0) / math.log2(i + 2) for i, d in enumerate(ranked[:DEPTH]))
    best = sorted(gain.values(), reverse=True)[:DEPTH]
    return got / sum(g / math.log2(i + 2) for i, g in enumerate(best))


def evaluate(data: Path, search: Search) -> dict[str, float]:
    """Give the mean nDCG@10 of each mode over all judged queries."""
    queries = [" ".join(record["W"].split()) for record in records(data / "cran.qry")]
    judged = gains(data / "cranqrel")
    scores: dict[str, list[float]] = {mode: [] for mode in MODES}
    for position, gain in sorted(judged.items()):
        for mode in MODES:
            ids = (Path(path).stem for path in search(queries[position - 1], mode))
            scores[mode].append(ndcg(list(dict.fromkeys(ids)), gain))
    return {mode: sum(values) / len(values) for mode, values in scores.items()}


def report(scores: dict[str, float]) -> bool:
    """Print the table and tell whether the gate holds."""
    best_arm = max(scores["keyword"], scores["semantic"])
    print(f"{'mode':<10} {'nDCG@10':>8}")
    for mode in MODES:
        print(f"{mode:<10} {scores[mode]:>8.4f}")
    gain = scores["hybrid"] - best_arm
    held = scores["hybrid"] >= HYBRID_AT_LEAST and gain >= GAIN_OVER_EACH
    print(
        f"hybrid {scores['hybrid']:.4f} (at least {HYBRID_AT_LEAST}),"
        f" {gain:+.4f} over the better arm (at least {GAIN_OVER_EACH:+.2f}):"
        f" {'held' if held else 'BELOW THE GATE'}"
    )
    return held


def main() -> int:
    """Run the gate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("STACKCTL_CRANFIELD", DEFAULT))
    )
    data = parser.parse_args().data
    if not (data / "cran.all.1400").exists():
        print(f"skipped: the Cranfield collection is not at {data}")
        return 0
    with tempfile.TemporaryDirectory(prefix="cran") as name, Stack() as stack:
        folder = Path(name)
        write_files(records(data / "cran.all.1400"), folder)
        began = time.monotonic()
        result = stack.index(folder)["result"]
        took = time.monotonic() - began
        print(f"indexed {result['indexed']} abstracts, {result['chunks']} chunks, {took:.1f} s")

        def search(query: str, mode: str) -> list[str]:
            body = {"query": query, "mode": mode, "limit": 2 * DEPTH}
            hits = stack.ok("POST", "/v1/search", body)["hits"]
            return [hit["citation"]["path"] for hit in hits]

        return 0 if report(evaluate(data, search)) else 1


if __name__ == "__main__":
    sys.exit(main())
