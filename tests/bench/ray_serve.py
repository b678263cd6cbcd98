"""The daemon on Ray Serve's replicas beside the daemon on its own workers; ``nox -s ray``.

Same model, same client, same number of processes that compute on a thread each. Windows
alternate between the two, so that a busy machine slows both; what counts is the ratio. CPU and
memory are of the daemon's whole process tree, Ray's own processes included.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import Stack
from peers.load import Measured, drive
from peers.servers import Server, tree

WORDS = "river copper lantern orchard signal winter harbour cotton engine violin".split()  # noqa: SIM905
REPLICAS = 2
CELLS = ((16, 1), (16, 16), (16, 64), (128, 16))
"""Words of a text, and clients."""


def main() -> int:
    """Measure and print; 1 when an answer was an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a window")
    options = parser.parse_args()
    if find_spec("ray") is None:
        print("skipped: Ray is not installed, nox -s ray makes an environment with it")
        return 0
    settings = {"STACKCTL_DEVICES__GPUS": "off"}
    on_ray = Stack(env=settings | {"STACKCTL_DEVICES__RAY_REPLICAS": str(REPLICAS)})
    own = Stack(env=settings | {"STACKCTL_DEVICES__CPU_SETS": "[[0], [1]]"})
    found: dict[tuple[str, int, int], list[Measured]] = {}
    with own, on_ray:
        running = []
        for name, stack in (("own workers", own), ("Ray Serve", on_ray)):
            stack.ok("POST", "/v1/embed", {"texts": ["warm"] * 64}, timeout_s=240)
            assert stack.process is not None
            running.append(
                Server(name, stack.socket_path, stack.process.pid, "/v1/embed", "texts")
            )
        for _ in range(options.rounds):
            for words, clients in CELLS:
                texts = [
                    " ".join(WORDS[(i * 7 + j) % 10] for j in range(words)) for i in range(100)
                ]
                for server in running:
                    window = drive(
                        server.address, server.requests(texts), clients=clients,
                        seconds=options.seconds, items=1, cpu=server.cpu_s,
                    )  # fmt: skip
                    found.setdefault((server.name, words, clients), []).append(asyncio.run(window))
        table(found)
        for server in running:
            pids = tree(server.pid)
            print(f"{server.name}: {len(pids)} processes, {sum(map(pss_mb, pids)):.0f} MB of PSS")
    errors = [error for windows in found.values() for one in windows for error in one.errors]
    print(*errors[:5], sep="\n")
    return 1 if errors else 0


def table(found: dict[tuple[str, int, int], list[Measured]]) -> None:
    """Print the cells, and the ratios of Ray Serve over our own workers."""
    print(f"{'words':>5} {'c':>3} {'server':12} {'seq/s':>18} {'CPU ms/seq':>18} {'p99 ms':>7}")
    for words, clients in CELLS:
        for name in ("own workers", "Ray Serve"):
            windows = found[name, words, clients]
            rates, cpu = [w.rate for w in windows], [w.cpu_ms for w in windows]
            p99 = Measured(latencies_s=[t for w in windows for t in w.latencies_s])
            print(f"{words:5} {clients:3} {name:12} {spread(rates):>18} {spread(cpu):>18} "
                  f"{p99.quantile_ms(0.99):7.1f}")  # fmt: skip
        pairs = list(
            zip(
                found["Ray Serve", words, clients],
                found["own workers", words, clients],
                strict=True,
            )
        )
        print(f"{'':9} ratio: seq/s {spread([r.rate / o.rate for r, o in pairs], 2)},"
              f" CPU {spread([r.cpu_ms / o.cpu_ms for r, o in pairs], 2)}")  # fmt: skip


def spread(values: list[float], digits: int = 1) -> str:
    """Give the median and the range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def pss_mb(pid: int) -> float:
    """Give the proportional set size of a process."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3


if __name__ == "__main__":
    sys.exit(main())
