"""Where a request's time went, for its header and its event; refuses to measure anything."""

from __future__ import annotations

from typing import Any

import msgspec

from stackctl.errors import StackctlError


class Spent(msgspec.Struct):
    """What a request took; of a streamed one it is filled in at the end, as it becomes known."""

    model: str = ""
    device: str = ""
    """Ids of the devices that took part, joined by commas."""
    inputs: int = 0
    tokens: int = 0
    truncated: int = 0
    queue_s: float | None = None
    """None: not known."""
    batch_s: float | None = None
    compute_s: float | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """Give the times as an event's attributes."""
        if self.compute_s is not None:
            return {"queue_s": self.queue_s, "batch_s": self.batch_s, "compute_s": self.compute_s}
        return {} if self.queue_s is None else {"queue_s": self.queue_s}


def of_error(error: StackctlError) -> Spent:
    """Give what is known of a request that failed."""
    return Spent(error.model, queue_s=error.queue_s)


def headers(spent: Spent) -> list[tuple[str, str]]:
    """Give times in ms as Server-Timing has them (W3C), the device, and how many were cut."""
    found = []
    if spent.compute_s is not None:
        queue_s, batch_s = spent.queue_s or 0.0, spent.batch_s or 0.0
        times = (
            f"queue;dur={queue_s * 1e3:.3f}, batch;dur={batch_s * 1e3:.3f},"
            f" compute;dur={spent.compute_s * 1e3:.3f}"
        )
        found.append(("Server-Timing", times))
    elif spent.queue_s is not None:
        found.append(("Server-Timing", f"queue;dur={spent.queue_s * 1e3:.3f}"))
    if spent.device:
        found.append(("Stackctl-Device", spent.device))
    if spent.truncated:
        found.append(("Stackctl-Truncated", str(spent.truncated)))
    return found
