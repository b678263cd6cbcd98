"""Embedding through the daemon, beside a raw ONNX Runtime loop and other servers.

Everybody runs MiniLM in float32 on one thread. We and the raw loop use the graph that leaves
padding out; peers that run user code are given the same weights in a graph that pads, as an
exporter writes it (``--packed-peers`` gives them ours). The raw loop and the device's worker are
pinned to core 0; the daemon, the peers' HTTP processes and the client to core 1 (where there is
one), so that who serves does not compete with who computes; peers that compute where they serve
may use both. One text a request, a closed loop of 1, 16 and 64 clients, the same client for all.

Each cell is measured between two windows of the raw loop, in rounds that alternate between the
servers, so that a busy machine slows all of them; what counts is the ratio, as the median of the
rounds and their range. CPU is that of the whole process tree, which a busy machine hardly
changes: where the two disagree, believe the CPU.

The short form takes five minutes on a quiet machine and leaves out peers that are not saturated;
``--full`` measures every cell of every server, and takes a quarter of an hour or more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import model_cache
from peers import servers
from peers.load import Measured, drive
from tokenizers import Tokenizer

from stackctl_daemon.models.bert_graph import build_graph

ROOT = Path(__file__).resolve().parents[2]
WALL, CPU, ADDED_MS, PEER_CPU, DEVICES = 0.92, 0.88, 0.7, 1.3, 1.9
TOO_FAR = 0.65
"""Times a floor: what no busy machine explains, so that it ends in exit status 1."""
BATCHES = {16: (8, 16, 32, 64), 128: (2, 4, 8, 16)}
FIRST, SECOND = 0, 1


class Cell(NamedTuple):
    """One place of the table."""

    server: str
    tokens: int
    clients: int


class Round(NamedTuple):
    """A cell, and the raw loop around it."""

    ours: Measured
    raw_rate: float
    raw_cpu_ms: float
    raw_p50_ms: float
    """Of one call at a time; 0 where it was not measured."""

    @property
    def wall(self) -> float:
        return self.ours.rate / self.raw_rate

    @property
    def cpu(self) -> float:
        return self.raw_cpu_ms / max(self.ours.cpu_ms, 1e-9)


class Raw:
    """The baseline's process."""

    def __init__(self, model: Path, core: int, texts: dict[int, list[str]]) -> None:
        command = [sys.executable, str(Path(servers.HERE) / "raw_loop.py")]
        command += [str(build_graph(model)), str(model / "tokenizer.json"), str(core)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._texts = texts
        self.best = dict.fromkeys(texts, 16)

    def ask(self, tokens: int, seconds: float, batch: int = 0) -> None:
        """Begin a window; batch 0 is the best one."""
        assert self._process.stdin is not None
        command = {"texts": self._texts[tokens], "batch": batch or self.best[tokens]}
        self._process.stdin.write(json.dumps({**command, "seconds": seconds}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Measured:
        """Wait for the window's end."""
        assert self._process.stdout is not None
        found = json.loads(self._process.stdout.readline())
        return Measured(found["items"], found["wall_s"], found["cpu_s"], found["calls"])

    def measure(self, tokens: int, seconds: float, batch: int = 0) -> Measured:
        """Measure one window."""
        self.ask(tokens, seconds, batch)
        return self.answer()

    def calibrate(self) -> None:
        """Find the batch that costs the least CPU a sequence."""
        for tokens, sizes in BATCHES.items():
            if tokens not in self._texts:
                continue
            self.measure(tokens, 0.3)
            costs = {size: self.measure(tokens, 1.0, size).cpu_ms for size in sizes}
            self.best[tokens] = min(costs, key=lambda size: costs[size])
            print(f"raw loop at {tokens} tokens, CPU ms a sequence by batch: "
                  + ", ".join(f"{size}: {cost:.2f}" for size, cost in costs.items()))  # fmt: skip

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def texts_of(tokens: int, tokenizer: Any, count: int = 512) -> list[str]:
    """Give texts of the documentation here, of ``tokens`` tokens give or take an eighth."""
    pages = sorted(ROOT.glob("docs/**/*.md"))
    words = [w for page in pages for w in page.read_text().split() if w.isalpha()]
    found, at = [], 0
    for index in range(count):
        wanted = tokens + (index % 5 - 2) * tokens // 16
        size = wanted - 2
        while True:
            chosen = [words[(at + i) % len(words)] for i in range(size)]
            if len(tokenizer.encode(" ".join(chosen)).ids) <= wanted:
                break
            size -= 1
        found.append(" ".join(chosen))
        at += size
    return found


def measure_cells(
    raw: Raw,
    running: list[servers.Server],
    texts: dict[int, list[str]],
    cells: list[Cell],
    options: argparse.Namespace,
) -> dict[Cell, list[Round]]:
    """Measure every cell ``options.rounds`` times, in rounds."""
    by_name = {server.name: server for server in running}
    found: dict[Cell, list[Round]] = defaultdict(list)
    for _ in range(options.rounds):
        raw_before: dict[int, Measured] = {}
        for cell in cells:
            server = by_name[cell.server]
            before = raw_before.get(cell.tokens) or raw.measure(cell.tokens, options.raw_seconds)
            single = (
                raw.measure(cell.tokens, options.raw_seconds, 1) if cell.clients == 1 else None
            )
            ours = asyncio.run(
                drive(
                    server.address, server.requests(texts[cell.tokens]), clients=cell.clients,
                    seconds=options.seconds, items=1, cpu=server.cpu_s,
                )
            )  # fmt: skip
            server.settle()
            after = raw.measure(cell.tokens, options.raw_seconds)
            raw_before = {cell.tokens: after}
            found[cell].append(
                Round(
                    ours,
                    (before.items + after.items) / (before.wall_s + after.wall_s),
                    (before.cpu_s + after.cpu_s) / (before.items + after.items) * 1000,
                    single.quantile_ms(0.5) if single else 0.0,
                )
            )
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """Give the median and the range."""
    return (
        f"{statistics.median(values):.{digits}f}"
        f" ({min(values):.{digits}f}..{max(values):.{digits}f})"
    )


def table(found: dict[Cell, list[Round]]) -> None:
    """Print what was measured."""
    print(f"\n{'server':25} {'tok':>3} {'c':>2}  {'seq/s':>6} {'of raw, wall':>18} "
          f"{'of raw, CPU':>18} {'CPU ms/seq':>10} {'p50 ms':>8} {'p99 ms':>8}")  # fmt: skip
    for cell, rounds in sorted(found.items(), key=lambda pair: pair[0][1:] + pair[0][:1]):
        print(
            f"{cell.server:25} {cell.tokens:3} {cell.clients:2}  "
            f"{_median(rounds, lambda r: r.ours.rate):6.1f} "
            f"{spread([r.wall for r in rounds]):>18} {spread([r.cpu for r in rounds]):>18} "
            f"{_median(rounds, lambda r: r.ours.cpu_ms):10.2f} "
            f"{_median(rounds, lambda r: r.ours.quantile_ms(0.5)):8.1f} "
            f"{p99(rounds):8.1f}"
        )


def p99(rounds: list[Round]) -> float:
    """Give the quantile over all rounds: one has too few answers for it."""
    return Measured(latencies_s=[t for r in rounds for t in r.ours.latencies_s]).quantile_ms(0.99)


def _median(rounds: list[Round], value: Any) -> float:
    return float(statistics.median(value(r) for r in rounds))


class Verdict:
    """Counts targets that are held and missed."""

    def __init__(self) -> None:
        self.far = False

    def floor(self, what: str, values: list[float], floor: float, *, tolerated: float) -> None:
        """Say whether the median reaches a floor; below ``tolerated`` the run fails."""
        middle = statistics.median(values)
        self.far |= middle < tolerated
        print(f"{'held' if middle >= floor else 'missed':6} {what}: {spread(values)},"
              f" target >= {floor}")  # fmt: skip

    def ceiling(self, what: str, values: list[float], limit: float, *, tolerated: float) -> None:
        """Say whether the median stays below a limit; above ``tolerated`` the run fails."""
        middle = statistics.median(values)
        self.far |= middle > tolerated
        print(f"{'held' if middle <= limit else 'missed':6} {what}: {spread(values)},"
              f" target <= {limit}")  # fmt: skip


def judge(found: dict[Cell, list[Round]], verdict: Verdict) -> None:
    """Print the targets beside the raw loop, then those beside the peers."""
    print()
    for cell, rounds in found.items():
        if not cell.server.startswith("stackctl"):
            continue
        what = f"{cell.server}, {cell.tokens} tokens, c{cell.clients}"
        if cell.clients == 1:
            added = [r.ours.quantile_ms(0.5) - r.raw_p50_ms for r in rounds]
            verdict.ceiling(f"{what}, added ms at p50", added, ADDED_MS, tolerated=10.0)
            continue
        verdict.floor(f"{what}, wall", [r.wall for r in rounds], WALL, tolerated=WALL * TOO_FAR)
        verdict.floor(f"{what}, CPU", [r.cpu for r in rounds], CPU, tolerated=CPU * TOO_FAR)
    for cell, rounds in found.items():
        if cell.server != "stackctl":
            continue
        others = {c.server: r for c, r in found.items()
                  if c[1:] == cell[1:] and not c.server.startswith("stackctl")}  # fmt: skip
        if not others:
            continue
        what = f"{cell.tokens} tokens, c{cell.clients}, over"
        name = max(others, key=lambda n: _median(others[n], lambda r: r.wall))
        best = _median(others[name], lambda r: r.wall)
        verdict.floor(f"{what} {name}, sequences/s", [r.wall / best for r in rounds], 1.0,
                      tolerated=TOO_FAR)  # fmt: skip
        name = min(others, key=lambda n: p99(others[n]))
        best = p99(others[name])
        verdict.floor(f"{what} {name}, p99", [best / r.ours.quantile_ms(0.99) for r in rounds],
                      1.0, tolerated=0.3)  # fmt: skip
        name = max(others, key=lambda n: _median(others[n], lambda r: r.cpu))
        best = _median(others[name], lambda r: r.cpu)
        verdict.floor(f"{what} {name}, CPU", [r.cpu / best for r in rounds], PEER_CPU,
                      tolerated=TOO_FAR)  # fmt: skip


def two_devices(
    raw: Raw, model: Path, texts: dict[int, list[str]], options: argparse.Namespace,
    verdict: Verdict,
) -> None:  # fmt: skip
    """Compare two devices with one, and two raw loops with one, in the same rounds."""
    if len(os.sched_getaffinity(0)) < 2:
        print("\ntwo devices: skipped, this machine has one core")
        return
    other = Raw(model, SECOND, texts)
    other.best = raw.best
    both: dict[int, list[float]] = defaultdict(list)
    ceiling: dict[int, list[float]] = defaultdict(list)
    cores = {FIRST, SECOND}
    with (
        servers.stackctl(f"[[{FIRST}]]", core=cores) as [one],
        servers.stackctl(f"[[{FIRST}], [{SECOND}]]", core=cores) as [two],
    ):
        for _ in range(options.rounds):
            for tokens, pool in texts.items():
                rates = []
                for server in (one, two):
                    asked = server.requests(pool, 64)
                    rates.append(
                        asyncio.run(
                            drive(server.address, asked, clients=8, seconds=options.seconds * 1.5,
                                  items=64, cpu=server.cpu_s)
                        ).rate
                    )  # fmt: skip
                both[tokens].append(rates[1] / rates[0])
                alone = raw.measure(tokens, options.seconds).rate
                for loop in (raw, other):
                    loop.ask(tokens, options.seconds)
                ceiling[tokens].append((raw.answer().rate + other.answer().rate) / alone)
    other.close()
    print()
    for tokens in texts:
        verdict.floor(
            f"two devices over one at {tokens} tokens (two raw loops over one:"
            f" {spread(ceiling[tokens])})", both[tokens], DEVICES, tolerated=1.1,
        )  # fmt: skip


@contextlib.contextmanager
def start(
    names: list[str], model: Path, *, tcp: bool, packed: bool
) -> Iterator[tuple[list[servers.Server], list[str]]]:
    """Run our daemon and the peers that can be had; give them, and who is skipped and why."""
    others = {SECOND} if len(os.sched_getaffinity(0)) > 1 else {FIRST}
    skipped = []
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(servers.stackctl(f"[[{FIRST}]]", core=others, tcp=tcp))
        for name in names:
            try:
                server = servers.peer(name, model, core=FIRST, others=others, packed=packed)
                found.append(stack.enter_context(server))
            except servers.Skipped as err:
                skipped.append(f"{name} skipped: {err}")
        yield found, skipped


def main() -> int:
    """Measure, print and judge; 1 when an answer was an error or a floor is far away."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--full", action="store_true", help="every cell, longer, five rounds")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="of a cell")
    parser.add_argument("--tokens", type=int, nargs="*", default=[16, 128])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--peers", nargs="*", default=list(servers.ENVIRONMENTS))
    parser.add_argument("--packed-peers", action="store_true", help="give peers our graph")
    parser.add_argument("--no-devices", action="store_true", help="leave out two devices")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.full else 3)
    options.seconds = options.seconds or (4.0 if options.full else 2.0)
    options.raw_seconds = options.seconds / 2
    model = model_cache() / "data" / "models" / "all-minilm-l6-v2"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = {tokens: texts_of(tokens, tokenizer) for tokens in options.tokens}
    print(f"load before: {os.getloadavg()}, cores: {sorted(os.sched_getaffinity(0))}")
    given = "ours, without padding" if options.packed_peers else "padded, as an exporter writes it"
    print(f"graph of the peers that run user code: {given}")
    raw = Raw(model, FIRST, texts)
    raw.calibrate()
    allowed = os.sched_getaffinity(0)
    verdict = Verdict()
    with start(options.peers, model, tcp=options.full, packed=options.packed_peers) as (
        running,
        skipped,
    ):
        os.sched_setaffinity(0, {SECOND} & allowed or allowed)
        cells = [
            Cell(server.name, tokens, clients)
            for tokens in options.tokens
            for clients in options.clients
            for server in running
            # The short form leaves out what says least: a peer that is not saturated.
            if options.full or server.name == "stackctl" or clients == 64
        ]
        found = measure_cells(raw, running, texts, cells, options)
        os.sched_setaffinity(0, allowed)
    table(found)
    for line in skipped:
        print(line)
    judge(found, verdict)
    if not options.no_devices:
        two_devices(raw, model, texts, options, verdict)
    raw.close()
    errors = [e for rounds in found.values() for r in rounds for e in r.ours.errors]
    for error in errors[:5]:
        print(f"error: {error}")
    print(f"load after: {os.getloadavg()}")
    return 1 if errors or verdict.far else 0


if __name__ == "__main__":
    sys.exit(main())
