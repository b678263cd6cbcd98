"""A daemon whose disk is full: it says so, keeps what it acknowledged, and recovers by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import duckdb
from faults.evidence import events_of
from faults.producer import Producer
from harness import Stack

SIZE = "64m"
SLACK_BYTES = 1 << 20
"""Left free beside the filler, so that the daemon itself meets the end of the disk."""
PATIENCE_S = 30.0
"""How long filling and recovering may take."""


class Teller(Protocol):
    """Where the figures go."""

    losses: list[str]

    def tell(self, what: str, value: object) -> None:
        """Add a row."""

    def expect(self, what: str, found: object, expected: object) -> None:
        """Add a row, and a loss when it is not what was expected."""


def fill_a_disk(findings: Teller, say: Callable[[str], None]) -> None:
    """Run the part; only root may mount the small file system, others are told so."""
    if os.geteuid() != 0:
        findings.tell("full disk", "skipped: needs root to mount a tmpfs")
        return
    with _small_disk() as home:
        if home is None:
            findings.tell("full disk", "skipped: mounting a tmpfs is not allowed here")
            return
        with Stack(home, model=False) as stack:
            producer = Producer(stack)
            findings.expect("accepted while there is room",
                            producer.send(producer.make(100)), True)  # fmt: skip
            filler = home / "filler"
            _fill(filler)
            say("disk filled")
            refused = _until(lambda: not producer.send(producer.make(200, padding=500)))
            findings.expect("refused when full", refused, True)
            findings.expect("with the code", ",".join(producer.refused), "disk_full")
            code, reply = stack.request("GET", "/v1/status")
            findings.expect("status answers when full", code, 200)
            health = {area["name"]: area["state"] for area in reply["areas"]} if reply else {}
            findings.tell("areas when full", " ".join(f"{k}={v}" for k, v in health.items()))
            filler.unlink()
            recovered = _until(lambda: producer.send(producer.make(100)))
            findings.expect("recovers without a restart", recovered, True)
            say("space is back")
            stack.stop()
            try:
                stored = events_of(home)
            except duckdb.Error as err:
                findings.losses.append(f"the analytics store cannot be read: {err}")
                return
    lost = sum(1 for event in producer.acknowledged if stored[event] != 1)
    findings.tell("events acknowledged", len(producer.acknowledged))
    findings.expect("of these not stored exactly once", lost, 0)


def _fill(filler: Path) -> None:
    """Take all the space but the slack."""
    free = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - SLACK_BYTES)


def _until(attempt: Callable[[], bool]) -> bool:
    """Try until it is so; False when the patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if attempt():
            return True
    return False


@contextlib.contextmanager
def _small_disk() -> Iterator[Path | None]:
    with tempfile.TemporaryDirectory(prefix="fd", dir="/tmp") as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
