"""Bytes that were cut off or changed on disk, in segments and in the store's own file.

What is damaged is told and lost; everything else is kept, exactly once.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.analytics_check import Verdict, verify
from faults.analytics_ledger import Ledger, events
from faults.analytics_scenes import damaged, fresh
from faults.findings import Findings

from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.segment_log import Position, SegmentLog

BATCHES = 12
SIZES = (1, 3, 20, 40)
Places = dict[str, tuple[Position, Position]]
"""By batch: where its frame begins and ends."""
Part = Callable[[Path, random.Random], Verdict]


def damage_files(
    trials: int, findings: Findings, say: Callable[[str], None], *, seed: int
) -> None:
    """Damage copies of a directory at random places and count what is left."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fx", dir="/tmp") as folder:
        log, store = Path(folder) / "log", Path(folder) / "store"
        fresh(log)
        places = asyncio.run(_segments(log))
        # A kill's image: its newest events are in the write-ahead log alone.
        damaged(store, header=False)
        parts: list[tuple[str, Path, Part]] = [
            ("segments cut", log, partial(_cut, places)),
            ("bytes changed in segments", log, partial(_flip, places)),
            ("bytes changed in the store", store, partial(_flip_store, "analytics.duckdb")),
            ("bytes changed in its log", store, partial(_flip_store, "analytics.duckdb.wal")),
        ]
        for what, scene, part in parts:
            verdicts = []
            for _ in range(trials):
                trial = Path(folder) / "trial"
                shutil.copytree(scene, trial)
                verdicts.append(part(trial, rng))
                shutil.rmtree(trial)
            _tell(what, verdicts, findings)
            say(f"{trials} {what}")


def _tell(what: str, verdicts: list[Verdict], findings: Findings) -> None:
    wrong = Counter(reason for verdict in verdicts for reason in verdict.wrong)
    findings.tell(what, len(verdicts))
    findings.tell("  events outside the damage", sum(v.acknowledged for v in verdicts))
    findings.expect("  of these lost", sum(v.lost for v in verdicts), 0)
    findings.expect("  doubled", sum(v.doubled for v in verdicts), 0)
    findings.expect("  other faults", "; ".join(wrong) or 0, 0)


async def _segments(scene: Path) -> Places:
    """Write two segments of a frame a batch, not loaded yet."""
    ledger = Ledger(scene / "ledger")
    found = {}
    for part in range(2):
        log = SegmentLog(scene / "data" / "analytics" / "segments")
        await asyncio.to_thread(log.open)
        for n in range(BATCHES):
            batch, count = f"{part}-{n}", SIZES[n % len(SIZES)]
            start = log.end.offset if n else 0
            ledger.send(batch, count)
            await log.append(encode_frame(events(batch, count)))
            ledger.acknowledge(batch)
            found[batch] = (Position(log.end.segment, start), log.end)
        await asyncio.to_thread(log.close)
    ledger.close()
    return found


def _cut(places: Places, scene: Path, rng: random.Random) -> Verdict:
    """Cut the newest segment anywhere, as a write that did not come to its end leaves it."""
    newest = max(end for _, end in places.values())
    at = Position(newest.segment, rng.randrange(newest.offset))
    with _segment(scene, at.segment).open("r+b") as file:
        file.truncate(at.offset)
    _keep_only(scene, {batch for batch, (_, end) in places.items() if end <= at})
    return verify(scene / "data", scene / "ledger")


def _flip(places: Places, scene: Path, rng: random.Random) -> Verdict:
    """Change one byte anywhere."""
    start, end = rng.choice(list(places.values()))
    hit = Position(start.segment, rng.randrange(start.offset, end.offset))
    _change(_segment(scene, hit.segment), hit.offset, rng)
    _keep_only(scene, {b for b, (start, end) in places.items() if not start <= hit < end})
    verdict = verify(scene / "data", scene / "ledger", degraded=True)
    if "damaged" not in verdict.health.reason:
        verdict.wrong.append(f"health says {verdict.health.reason!r} of byte {hit}")
    return verdict


def _flip_store(name: str, scene: Path, rng: random.Random) -> Verdict:
    """Change some bytes of the store, then repair it: the segments have every event."""
    path = scene / "data" / "analytics" / name
    for _ in range(3):
        _change(path, rng.randrange(path.stat().st_size), rng)
    return verify(scene / "data", scene / "ledger", repair=True)


def _segment(scene: Path, segment: int) -> Path:
    return SegmentLog(scene / "data" / "analytics" / "segments").path(segment)


def _change(path: Path, at: int, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << rng.randrange(8))]))


def _keep_only(scene: Path, batches: set[str]) -> None:
    """Rewrite the ledger to the batches that must still be there."""
    lines = (scene / "ledger").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split()[1] in batches]
    (scene / "ledger").write_text("".join(kept))
