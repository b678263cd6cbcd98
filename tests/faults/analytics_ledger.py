"""What a producer sent and what it was told is stored, in a file that outlives its process.

Refuses to buffer: each line is one write, so that a killed process leaves every line it wrote.
"""

from __future__ import annotations

import os
from pathlib import Path

from stackctl.contracts.event import Event
from stackctl_daemon.events import new_event

NAME = "fault.event"


class Ledger:
    """Lines ``s BATCH COUNT`` before a batch is sent and ``a BATCH`` after its acknowledgement."""

    def __init__(self, path: Path):
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self.sent: dict[str, int] = {}
        self.acknowledged: set[str] = set()
        for line in path.read_text().splitlines():
            kind, batch, *count = line.split(" ")
            if kind == "s":
                self.sent[batch] = int(count[0])
            else:
                self.acknowledged.add(batch)

    def send(self, batch: str, count: int) -> None:
        """Note that a batch is about to be sent."""
        self.sent[batch] = count
        os.write(self._fd, f"s {batch} {count}\n".encode())

    def acknowledge(self, batch: str) -> None:
        """Note that a batch was acknowledged."""
        self.acknowledged.add(batch)
        os.write(self._fd, f"a {batch}\n".encode())

    def unanswered(self) -> list[str]:
        """Give the batches that a real producer would send again."""
        return [batch for batch in self.sent if batch not in self.acknowledged]

    def acknowledged_ids(self) -> list[str]:
        """Give the ids of the events that must be stored, exactly once."""
        return [e for batch in self.acknowledged for e in ids(batch, self.sent[batch])]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def ids(batch: str, count: int) -> list[str]:
    """Give the ids of a batch's events."""
    return [f"{batch}.{n}" for n in range(count)]


def events(batch: str, count: int) -> list[Event]:
    """Make a batch again, with the same ids each time."""
    return [
        Event(
            id=key,
            kind="user",
            name=NAME,
            time_us=new_event("user", NAME).time_us,
            outcome="error" if n % 5 == 0 else "ok",
            duration_s=n / 1000,
            items=1,
        )
        for n, key in enumerate(ids(batch, count))
    ]
