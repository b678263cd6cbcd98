"""What requests took, for the statistics of a protocol; refuses to measure anything."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from stackctl_daemon.inference.ask import Done


@dataclass(slots=True)
class Count:
    """Requests of one model since the daemon started."""

    requests: int = 0
    failed: int = 0
    inputs: int = 0
    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0
    last_at_s: float = 0.0
    """Unix time of the last one."""


@dataclass(slots=True)
class Statistics:
    """Counts by model, of what came through these protocols."""

    models: dict[str, Count] = field(default_factory=dict)

    def add(self, done: Done, inputs: int) -> None:
        """Count a request that was answered."""
        count = self.models.setdefault(done.model, Count())
        count.requests += 1
        count.inputs += inputs
        count.queue_s += done.queue_s
        count.batch_s += done.batch_s
        count.compute_s += done.compute_s
        count.last_at_s = time.time()

    def fail(self, model: str) -> None:
        """Count a request that was not."""
        self.models.setdefault(model, Count()).failed += 1
