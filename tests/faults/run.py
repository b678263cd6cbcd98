"""Kills a real daemon and its workers at random moments, fills its disk, and counts losses.

Exit 1 when an acknowledged event is missing or doubled, when the index differs from that of a run
without faults, or when a job that was accepted did not end in success.
The suites ``inference`` and ``analytics`` are another matter: see `faults.inference` and
`faults.analytics`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from faults.corpus import write_corpus
from faults.evidence import Index, events_of, index_of
from faults.findings import Findings, report
from faults.full_disk import fill_a_disk
from faults.producer import Producer
from harness import Stack, kill_quietly

COLLECTION = "faults"
JOB_TIMEOUT_S = 600.0
KILLS_OF_STACK = 50
WORKER_SHARE = 0.4
"""Part of the kills that is aimed at a worker, when there is one."""


def kill_run(kills: int, files: int, *, seed: int, say: Callable[[str], None]) -> Findings:
    """Index and ingest under ``kills`` SIGKILLs and compare with a run that had none."""
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="fc", dir="/tmp") as folder:
        corpus = Path(folder)
        written = write_corpus(corpus, files)
        say(f"corpus: {written} files")
        with Stack() as calm:
            calm.index(corpus, collection=COLLECTION)
            calm.stop()
            reference = index_of(calm.home, COLLECTION, below=corpus)
        say(f"without faults: {reference.chunks.total()} chunks")
        with Stack() as stack:
            producer = Producer(stack)
            producer.start()
            tally, jobs = _disturb(stack, corpus, kills, random.Random(seed), say)
            _finish(stack, corpus, jobs, findings, say)
            producer.stop()
            stack.stop()
            disturbed = index_of(stack.home, COLLECTION, below=corpus)
            stored = events_of(stack.home)
    findings.tell("kill -9 of the daemon", tally["daemon"])
    findings.tell("kill -9 of a worker", tally["worker"])
    findings.expect("kills in all", tally.total() >= kills, True)
    _compare_index(reference, disturbed, findings)
    compare_events(producer, stored, findings)
    return findings


def _disturb(
    stack: Stack, corpus: Path, kills: int, rng: random.Random, say: Callable[[str], None]
) -> tuple[Counter[str], list[str]]:
    """Kill until the number is reached, always with an index job under way."""
    tally: Counter[str] = Counter()
    jobs: list[str] = []
    pause = threading.Event()
    while tally.total() < kills:
        if not jobs or _ended(stack, jobs[-1]):
            body = {"paths": [str(corpus)], "collection": COLLECTION, "force": True}
            jobs.append(stack.ok("POST", "/v1/index", body)["id"])
        # A random moment is the point of this wait, not synchronisation.
        pause.wait(rng.uniform(0.02, 2.0))
        victim = "daemon"
        if rng.random() < WORKER_SHARE:
            pids = stack.worker_pids()
            if pids and kill_quietly(rng.choice(pids)):
                victim = "worker"
        if victim == "daemon":
            stack.kill9()
            stack.start()
        tally[victim] += 1
        if tally.total() % 5 == 0:
            say(f"{tally.total()}/{kills} kills, {len(jobs)} index jobs so far")
    return tally, jobs


def _ended(stack: Stack, job_id: str) -> bool:
    return stack.ok("GET", f"/v1/jobs/{job_id}")["state"] not in {"queued", "running"}


def _finish(
    stack: Stack, corpus: Path, jobs: list[str], findings: Findings, say: Callable[[str], None]
) -> None:
    """Let every accepted job end without further faults and look at how it did."""
    states: Counter[str] = Counter()
    attempts = 0
    for job_id in jobs:
        job = stack.follow_job(job_id, timeout_s=JOB_TIMEOUT_S)
        states[job["state"]] += 1
        attempts += job["attempts"]
        if job["state"] != "succeeded":
            say(f"job {job_id} ended {job['state']}: {job['error_code']} {job['error_message']}")
    findings.tell("index jobs accepted", len(jobs))
    findings.tell("times they were started", attempts)
    findings.expect("index jobs that succeeded", states["succeeded"], len(jobs))


def _compare_index(reference: Index, disturbed: Index, findings: Findings) -> None:
    findings.tell("documents", len({path for path, _ in disturbed.chunks}))
    total = reference.chunks.total()
    findings.expect("chunks", disturbed.chunks.total(), total)
    findings.expect("chunks missing", (reference.chunks - disturbed.chunks).total(), 0)
    findings.expect("chunks too many", (disturbed.chunks - reference.chunks).total(), 0)
    findings.expect("chunks with a whole vector", disturbed.vectors, total)
    findings.expect("rows of the full-text index", disturbed.full_text_rows, total)
    findings.expect("rows of the vector index", disturbed.vector_rows, total)
    findings.expect("problems in the database", len(disturbed.problems), 0)


def compare_events(producer: Producer, stored: Counter[str], findings: Findings) -> None:
    """Check that every acknowledged event is stored exactly once."""
    findings.expect("events were acknowledged", len(producer.acknowledged) > 0, True)
    findings.tell("events acknowledged", len(producer.acknowledged))
    findings.tell("batches sent again", producer.resent)
    lost = sum(1 for event in producer.acknowledged if stored[event] == 0)
    findings.expect("acknowledged events lost", lost, 0)
    findings.expect("events doubled", sum(1 for n in stored.values() if n > 1), 0)


def main() -> int:
    """Run a suite and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "suite", nargs="?", choices=("stack", "inference", "analytics"), default="stack"
    )
    parser.add_argument("--kills", type=int, default=None, help="default: 50; analytics: 100")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="the moments; default: the clock's")
    parser.add_argument("--skip-disk", action="store_true", help="leave the full disk out")
    parser.add_argument("--faults", type=int, default=200, help="of the suite inference")
    parser.add_argument("--minutes", type=float, default=0, help="go on so long with them")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    say(f"seed {seed}")
    if options.suite == "inference":
        # Deferred: it needs the daemon's adapters, and the other suite nothing but the harness.
        from faults.inference import inference_run

        parts = [inference_run(options.faults, options.minutes, seed=seed, say=say)]
        report("inference under faults", parts[0])
    elif options.suite == "analytics":
        # Deferred: it needs the daemon's analytics area, in this process too.
        from faults.analytics import KILLS, analytics_run

        parts = analytics_run(
            options.kills or KILLS, seed=seed, disk=not options.skip_disk, say=say
        )
    else:
        parts = [kill_run(options.kills or KILLS_OF_STACK, options.files, seed=seed, say=say)]
        report("kill -9", parts[0])
        if not options.skip_disk:
            parts.append(Findings())
            fill_a_disk(parts[1], say)
            report("full disk", parts[1])
    failed = any(findings.losses for findings in parts)
    print("\nlosses found" if failed else "\nnothing lost, nothing doubled, nothing wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
