"""Time as a dependency, so that tests need no waiting; refuses to know time zones but UTC."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a service may ask about time."""

    def monotonic_s(self) -> float:
        """Seconds that only go forward."""
        ...

    def utc(self) -> str:
        """Now, ISO 8601 with microseconds and Z."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        """Give CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def utc(self) -> str:
        """Give CLOCK_REALTIME as text."""
        return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    async def sleep(self, duration_s: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(duration_s)
