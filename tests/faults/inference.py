"""Two hundred faults into inference under load: nothing wrong, nothing lost, nothing hung.

A real daemon, two CPU devices of one core, real models and tiny ones; eight clients that ask
without pause and compare every answer with what was computed before, outside the daemon.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults.findings import Findings
from faults.inference_faults import Faults, NotOver
from faults.inference_load import LIMIT_S, Load
from faults.inference_models import Models
from harness import Stack

from stackctl_daemon.proc import pss_bytes

FAULTS, CLIENTS = 200, 8
WEIGHTS = {
    "worker killed": 48,
    "worker wedged": 8,
    "worker out of memory, killed": 10,
    "worker out of memory, refused": 8,
    "device lost and back": 8,
    "all devices lost and back": 6,
    "model file truncated": 12,
    "model file corrupted": 10,
    "model file removed": 10,
    "model file cut under a worker": 6,
    "graph with an unknown operator": 14,
    "client left": 20,
    "deadline passed": 16,
    "queue full": 10,
    "bad input": 14,
}
"""Of 200 faults."""
WEDGE_TIMEOUT_S = 6.0
GROWTH_BYTES = 40 << 20
"""Of the daemon from the middle to the end: above it memory is not flat."""


def inference_run(
    faults: int, minutes: float, *, seed: int, say: Callable[[str], None]
) -> Findings:
    """Inject so many faults, over so many minutes when given, and judge what clients saw."""
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="fi", dir="/tmp") as folder:
        lost = Path(folder) / "lost"
        lost.mkdir()
        home = Path(folder) / "h"
        models = Models(home)
        say("expected answers are computed")
        with Stack(home, model=False, env=_environment(lost)) as stack:
            load = Load(stack, models)
            _warm(load, random.Random(seed))
            memory = [_memory(stack)]
            say(f"warm: {_megabytes(memory[0])}")
            load.start(CLIENTS, seed=seed)
            rng = random.Random(seed)
            injected = Faults(stack, load, [lost / str(core) for core in _cores()], rng)
            done, stuck = _inject(injected, _plan(faults, rng), minutes, say,
                                  lambda: memory.append(_memory(stack)))  # fmt: skip
            load.stop()
            say("faults are over")
            _warm(load, rng)
            memory.append(_memory(stack))
            queued = sum(item["queued"] for item in stack.ok("GET", "/v1/devices")["items"])
            workers = len(stack.worker_pids())
            status = stack.stop()
    _report(findings, done, load, faults)
    for what, (daemon, processes) in zip(("start", "middle", "end"), memory, strict=True):
        findings.tell(f"PSS at the {what}, daemon", f"{daemon >> 20} MB")
        findings.tell(f"PSS at the {what}, workers", f"{processes >> 20} MB")
    grown = memory[2][0] - memory[1][0]
    findings.expect(f"daemon grew above {GROWTH_BYTES >> 20} MB", grown > GROWTH_BYTES, False)
    findings.expect("inputs still queued", queued, 0)
    findings.expect("workers at the end", workers, 2)
    findings.expect("exit status of the daemon", status, 0)
    findings.losses += stuck
    return findings


def _plan(faults: int, rng: random.Random) -> list[str]:
    """Give kinds of faults by weight, in random order."""
    scale = faults / sum(WEIGHTS.values())
    kinds = [
        kind for kind, weight in WEIGHTS.items() for _ in range(max(1, round(weight * scale)))
    ]
    kinds += ["worker killed"] * (faults - len(kinds))
    rng.shuffle(kinds)
    return kinds


def _inject(
    injected: Faults,
    plan: list[str],
    minutes: float,
    say: Callable[[str], None],
    halfway: Callable[[], None],
) -> tuple[Counter[str], list[str]]:
    """Run the plan, again and again while there is time left; faults of requests beside others."""
    done: Counter[str] = Counter()
    stuck: list[str] = []
    deadline = time.monotonic() + minutes * 60
    lock = threading.Lock()

    def run(kinds: dict[str, Callable[[], None]]) -> None:
        mine = [kind for kind in plan if kind in kinds]
        while True:
            for kind in mine:
                try:
                    kinds[kind]()
                except NotOver as err:
                    stuck.append(f"{kind}: {err}")
                with lock:
                    done[kind] += 1
                    if not done.total() % 20:
                        say(f"{done.total()} faults")
            if time.monotonic() >= deadline:
                return

    threads = [
        threading.Thread(target=run, args=(kinds,), daemon=True)
        for kinds in (injected.devices, injected.requests)
    ]
    for thread in threads:
        thread.start()
    if minutes:
        threads[0].join(minutes * 30)
    else:
        while done.total() < len(plan) // 2:
            threads[0].join(0.5)
    halfway()
    for thread in threads:
        thread.join()
    return done, stuck


def _warm(load: Load, rng: random.Random) -> None:
    """Ask every model until both devices have answered with it."""
    for _ in range(60):
        load.ask(load.models.some(rng))


def _memory(stack: Stack) -> tuple[int, int]:
    """Give the proportional set size of the daemon and of its workers, in bytes."""
    assert stack.process is not None
    return pss_bytes(stack.process.pid), sum(map(pss_bytes, stack.worker_pids()))


def _megabytes(memory: tuple[int, int]) -> str:
    return f"daemon {memory[0] >> 20} MB, workers {memory[1] >> 20} MB"


def _report(findings: Findings, done: Counter[str], load: Load, faults: int) -> None:
    for kind in WEIGHTS:
        findings.tell(kind, done[kind])
    findings.expect(f"faults, {faults} at least", done.total() >= faults, True)
    tally = load.tally
    findings.tell("faults in all", done.total())
    findings.tell("requests", tally.asked)
    findings.tell("answered, content as expected", tally.answered)
    findings.tell("inputs in these", tally.inputs)
    for code, count in sorted(tally.refused.items()):
        findings.tell(f"refused: {code}", count)
    findings.tell("slowest request", f"{tally.slowest_s:.1f} s")
    for what, cases in (
        ("wrong", tally.wrong),
        ("lost", tally.lost),
        (f"hung, {LIMIT_S:.0f} s", tally.hung),
        ("refused with a code that does not fit", tally.unclear),
    ):
        findings.tell(what, len(cases))
        findings.losses += [f"{what}: {case}" for case in cases[:10]]


def _environment(lost: Path) -> dict[str, str]:
    return {
        "STACKCTL_DEVICES__CPU_SETS": str([[core] for core in _cores()]),
        "STACKCTL_DEVICES__GPUS": "off",
        "STACKCTL_INFERENCE__WEDGE_TIMEOUT_S": str(WEDGE_TIMEOUT_S),
        "STACKCTL_INFERENCE__MAX_QUEUED_TEXTS": "600",
        "STACKCTL_MODELS__OFFLINE": "true",
        "STACKCTL_LOST": str(lost),
        "PYTHONPATH": str(Path(__file__).resolve().parent / "lost_device"),
    }


def _cores() -> list[int]:
    """Give the cores of the two devices.

    Raises:
        SystemExit: there is only one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("1 core, expected 2 for two devices")
    return [cores[0], cores[1]]
