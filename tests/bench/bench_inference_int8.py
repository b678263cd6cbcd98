"""What the int8 encoder loses and gains against float32, on real sentences.

The sentences are the first ones of the standard library's docstrings. Prints the cosine of the
two vectors of each sentence, how many of its ten nearest it keeps, how often its nearest, and
the ratio of the times, interleaved. Goal: 2.2 times the speed, where the CPU has VNNI; the loss
has none, and is why nobody gets int8 unasked.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from inference_stack import model_service

from stackctl.errors import NotFound
from stackctl_daemon.inference.adapters.base import FloatArray, Input, ModelSpec, Unit
from stackctl_daemon.inference.adapters.text_embedding import TextEmbedding
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.models.bert_graph import build_graph
from stackctl_daemon.models.bert_int8_graph import build_int8_graph
from stackctl_daemon.models.ports import ReadyModel

BATCH, ROUNDS = 16, 5
GOAL, TOO_FAR = 2.2, 0.65
"""Times float32; and the part of it below which the run fails."""


def sentences(count: int) -> list[str]:
    """Give first sentences of docstrings, each once, in the order of the files."""
    found: dict[str, None] = {}
    for file in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split()).split(". ")[0]
                if 30 <= len(text) <= 300:
                    found[text] = None
    return list(found)[:count]


def embed(model: TextEmbedding, batches: list[list[Unit]]) -> FloatArray:
    """Give the vectors of all batches."""
    return np.concatenate([np.asarray(model.compute(batch)) for batch in batches])


async def fetched() -> ReadyModel:
    """Give the default model."""
    service = model_service()
    try:
        return await service.ready("default")
    except NotFound:
        await service.pull("default")
        return await service.ready("default")


def opened(ready: ReadyModel, directory: Path, graph: Path) -> TextEmbedding:
    """Load a graph on one core."""
    entry = ready.entry
    spec = ModelSpec(
        entry.name, directory, graph, ready.tokenizer, entry.max_tokens, entry.dimensions
    )
    return TextEmbedding(spec, DevicePolicy("cpu").open)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--full", action="store_true", help="all sentences there are")
    options = parser.parse_args()
    texts = sentences(1 << 30 if options.full else options.count)
    ready = asyncio.run(fetched())
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(ready.directory / name, directory / name)
        plain = opened(ready, directory, build_graph(directory))
        small = opened(ready, directory, build_int8_graph(directory))
        gained = report(texts, plain, small)
    held = gained >= GOAL
    print(f"{'held' if held else 'missed'} int8 over float32: {gained:.2f}, target >= {GOAL}")
    return int(gained < GOAL * TOO_FAR)


def report(texts: list[str], plain: TextEmbedding, small: TextEmbedding) -> float:
    """Print the table; give how many times as fast int8 is."""
    units = sorted(plain.prepare([Input(text=text) for text in texts], {}))
    batches = [units[i : i + BATCH] for i in range(0, len(units), BATCH)]
    one, two = embed(plain, batches), embed(small, batches)
    cosines = (one * two).sum(1) / np.linalg.norm(two, axis=1)
    near, near_small = nearest(one), nearest(two)
    pairs = list(zip(near, near_small, strict=True))
    overlap = statistics.mean(len({*a} & {*b}) / len(a) for a, b in pairs)
    first = statistics.mean(bool(a[0] == b[0]) for a, b in pairs)
    ratios = [timed(plain, batches) / timed(small, batches) for _ in range(ROUNDS)]
    print(f"sentences {len(texts)}  cosine mean {cosines.mean():.4f} min {cosines.min():.4f}")
    print(f"top-10 overlap {overlap:.3f}  same nearest {first:.3f}")
    print(
        f"speed, times float32: median {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return statistics.median(ratios)


def nearest(vectors: FloatArray) -> np.ndarray:
    """Give the ten nearest of each, itself left out, nearest first."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    found: np.ndarray = np.argsort(-scores, axis=1)[:, :10]
    return found


def timed(model: TextEmbedding, batches: list[list[Unit]]) -> float:
    """Give the CPU seconds of a pass, which other load does not stretch as it does time."""
    begun = time.process_time()
    embed(model, batches)
    return time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main())
