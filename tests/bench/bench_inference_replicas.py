"""Replicas beside one session.

Two workers on the same two cores, one with a session of two threads and one with two replicas,
each asked by turns with 32 requests of one text under way; MiniLM, 512 padded tokens a batch.
Prints the throughput of the replicas over that of the session, and the CPU that a text takes, as
the median of the rounds and their range; where a busy machine makes the two disagree, believe
the CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from inference_stack import model_service
from worker_talk import Talk, working

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.ask import load_message

UNDER_WAY = 32


class Asked:
    """A worker that has the model, and how many requests it was sent."""

    def __init__(self, talk: Talk, load: wire.Load) -> None:
        self._talk, self._key, self._number = talk, load.key, 0
        talk.send(load)
        while not isinstance(report := talk.read()[0], wire.Loaded):
            if isinstance(report, wire.LoadFailed):
                raise RuntimeError(report.message)

    def window(self, tokens: int, seconds: float) -> tuple[float, float]:
        """Give the texts a second of one window, and the CPU seconds that each took."""
        text = " ".join(["signal"] * (tokens - 2))
        for _ in range(UNDER_WAY):
            self._ask(text)
        begun, cpu_s, done = time.monotonic(), self._cpu_s(), 0
        while time.monotonic() - begun < seconds:
            self._talk.answer()
            done += 1
            self._ask(text)
        took = time.monotonic() - begun
        for _ in range(UNDER_WAY):
            self._talk.answer()
        return done / took, (self._cpu_s() - cpu_s) / (done + UNDER_WAY)

    def _cpu_s(self) -> float:
        stat = Path(f"/proc/{self._talk.process.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _ask(self, text: str) -> None:
        self._number += 1
        self._talk.send(wire.Run(self._number, self._key, "interactive", texts=[text]))


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--full", action="store_true", help="twice the rounds")
    options = parser.parse_args()
    options.rounds *= 2 if options.full else 1
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("one core: replicas have nothing to share")
        return 0
    load = load_message(asyncio.run(model_service().ready("default")))
    pinned = ",".join(map(str, cores))
    with (
        working(cores=pinned, batch_tokens=512) as one,
        working(cores=pinned, batch_tokens=512) as many,
    ):
        session = Asked(one, load)
        replicas = Asked(many, msgspec.structs.replace(load, replicas=2))
        for tokens in (16, 128):
            rates, costs = [], []
            for _ in range(options.rounds):
                base, base_cpu = session.window(tokens, options.seconds)
                rate, cpu = replicas.window(tokens, options.seconds)
                rates.append(rate / base)
                costs.append(cpu / base_cpu)
            print(f"{tokens:4} tokens: throughput x {spread(rates)}, CPU a text x {spread(costs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
