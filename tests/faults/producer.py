"""Sends events with known ids and remembers which the daemon acknowledged."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any

from harness import Stack


class Producer:
    """A thread that posts batches until stopped; an unanswered batch is sent again as it was.

    Sending again is what a real producer does when the answer was lost, and is how a daemon that
    stores an event twice shows itself.
    """

    def __init__(self, stack: Stack, *, batch: int = 20, prefix: str = "fault"):
        self.acknowledged: set[str] = set()
        self.refused: dict[str, int] = {}
        """Answers that were errors, by code."""
        self.resent = 0
        self._stack = stack
        self._batch = batch
        self._prefix = prefix
        self._next = 0
        self._stopping = threading.Event()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch in flight was acknowledged or given up."""
        self._stopping.set()
        self._thread.join(timeout=60)

    def wait_for(self, count: int, *, timeout_s: float) -> bool:
        """Wait until so many events were acknowledged; False when the time ran out."""
        with self._progress:
            return self._progress.wait_for(
                lambda: len(self.acknowledged) >= count, timeout=timeout_s
            )

    def send(self, events: list[dict[str, Any]]) -> bool:
        """Send one batch; True when it was acknowledged."""
        try:
            status, reply = self._stack.request(
                "POST", "/v1/events", {"events": events}, timeout_s=20
            )
        except (OSError, http.client.HTTPException, ValueError):
            return False
        if status // 100 != 2:
            code = reply["error"]["code"] if reply else str(status)
            self.refused[code] = self.refused.get(code, 0) + 1
            return False
        with self._progress:
            self.acknowledged.update(event["id"] for event in events)
            self._progress.notify_all()
        return True

    def make(self, count: int, *, padding: int = 0) -> list[dict[str, Any]]:
        """Make events with ids that were not used before."""
        first, self._next = self._next, self._next + count
        return [
            {
                "id": f"{self._prefix}-{number:08d}",
                "kind": "user",
                "name": "fault.event",
                "time_us": time.time_ns() // 1000,
                "attributes": {"padding": "x" * padding} if padding else {},
            }
            for number in range(first, first + count)
        ]

    def _run(self) -> None:
        while not self._stopping.is_set():
            events = self.make(self._batch)
            while not self.send(events):
                self.resent += 1
                # The daemon is down or busy: the pause only spares the CPU.
                if self._stopping.wait(0.05):
                    return
            self._stopping.wait(0.01)
