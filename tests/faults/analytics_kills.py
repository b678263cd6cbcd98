"""SIGKILL at random moments of the event store under several producers, alone and as a daemon."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from faults.analytics_check import verify
from faults.analytics_scenes import fresh
from faults.evidence import events_of
from faults.findings import Findings
from faults.producer import Producer
from harness import Stack

from stackctl_daemon.failpoints import VARIABLE

CHILD = Path(__file__).with_name("analytics_producers.py")
LONGEST_S = 0.5
"""From a process's first acknowledgement to its end."""
EARLY = 0.2
"""Part of the kills that does not wait for one."""
PRODUCERS = 3
IN_THE_DAEMON = (
    "segment.append.before_write=torn@30",
    "store.insert.before_commit=kill@4",
    "segment.append.before_fsync=kill@40",
    "segment.append.after_fsync=kill@30",
    "store.insert.after_commit=kill@5",
    "segment.append.before_fsync=error:EIO@25;store.insert.before_commit=kill@8",
)
"""Strikes at the whole daemon, late enough that it is ready by then."""


def kill_service(kills: int, findings: Findings, say: Callable[[str], None], *, seed: int) -> None:
    """Kill a process with the service so often, then count."""
    rng = random.Random(seed)
    early = 0
    with tempfile.TemporaryDirectory(prefix="fk", dir="/tmp") as folder:
        scene = Path(folder) / "scene"
        fresh(scene)
        for n in range(1, kills + 1):
            early += _kill_one(scene, rng)
            if n % 25 == 0:
                say(f"{n}/{kills} kills of the service")
        verdict = verify(scene / "data", scene / "ledger")
    findings.tell("kill -9 of the service", kills)
    findings.tell("  of these while it started", early)
    findings.tell("events acknowledged", verdict.acknowledged)
    findings.expect("events were acknowledged", verdict.acknowledged > 0, True)
    findings.expect("acknowledged events lost", verdict.lost, 0)
    findings.expect("events doubled", verdict.doubled, 0)
    findings.expect("other faults", "; ".join(verdict.wrong) or 0, 0)


def _kill_one(scene: Path, rng: random.Random) -> bool:
    """Start, kill, and say whether it had acknowledged nothing yet."""
    ledger = scene / "ledger"

    def answers() -> int:
        return ledger.read_bytes().count(b"\na ") if ledger.exists() else 0

    before = answers()
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(scene / "data"), str(ledger)],
        env=os.environ | {"PYTHONPATH": str(CHILD.parents[1])},
        stderr=subprocess.DEVNULL,
    )
    pause = threading.Event()
    try:
        if rng.random() < EARLY:
            # While Python and DuckDB are imported, or the log is recovered.
            pause.wait(rng.uniform(0.05, 0.5))
        else:
            deadline = time.monotonic() + 30
            while answers() == before and time.monotonic() < deadline:
                pause.wait(0.01)
            # A random moment is the point of this wait, not synchronisation.
            pause.wait(rng.uniform(0, LONGEST_S))
    finally:
        child.kill()
        child.wait()
    return answers() == before


def strike_daemon(
    kills: int,
    findings: Findings,
    say: Callable[[str], None],
    *,
    seed: int,
    strikes: int = len(IN_THE_DAEMON),
) -> None:
    """Strike a whole daemon at failpoints and kill it at random, with producers on its socket."""
    rng = random.Random(seed)
    pause = threading.Event()
    with Stack(model=False) as stack:
        producers = [Producer(stack, prefix=f"p{n}") for n in range(PRODUCERS)]
        for producer in producers:
            producer.start()
        struck = sum(_strike(stack, text) for text in IN_THE_DAEMON[:strikes])
        for _ in range(kills):
            pause.wait(rng.uniform(0.05, 1.0))
            stack.kill9()
            stack.start()
        say(f"{strikes} strikes and {kills} kills of the daemon")
        go_on = [p.wait_for(len(p.acknowledged) + 40, timeout_s=30) for p in producers]
        for producer in producers:
            producer.stop()
        summary = stack.ok("GET", "/v1/analytics/summary?window_s=3600")
        stack.stop()
        stored = events_of(stack.home)
    acknowledged = set().union(*(producer.acknowledged for producer in producers))
    counted = sum(row["count"] for row in summary["rows"] if row["name"] == "fault.event")
    findings.expect("failpoints that ended the daemon", struck, strikes)
    findings.tell("kill -9 of the daemon", kills)
    findings.expect("producers that go on afterwards", sum(go_on), PRODUCERS)
    findings.tell("events acknowledged", len(acknowledged))
    findings.tell("batches sent again", sum(producer.resent for producer in producers))
    findings.expect("acknowledged events lost", len(acknowledged - set(stored)), 0)
    findings.expect("events doubled", sum(1 for count in stored.values() if count > 1), 0)
    findings.expect("events in the summary", counted, stored.total())


def _strike(stack: Stack, text: str) -> bool:
    """Restart the daemon armed, wait for its end and restart it unarmed; False: no such end."""
    stack.stop()
    stack.env[VARIABLE] = text
    with contextlib.suppress(RuntimeError):  # struck before it answered
        stack.start()
    del stack.env[VARIABLE]
    assert stack.process is not None
    try:
        struck = stack.process.wait(timeout=30) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        struck = False
    stack.kill9()
    stack.start()
    return struck
