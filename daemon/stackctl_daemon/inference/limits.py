"""What requests of one model may take: how many may wait, and how long; refuses to queue them.

A model's entry says it, and a load may say otherwise until the daemon ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Conflict, Overloaded


class Limits(NamedTuple):
    """Of one model."""

    max_queued: int = 0
    """Inputs that may wait or be computed; 0: as many as of all models."""
    timeout_s: float = 0.0
    """Of a request that sets none; 0: none."""


class ModelLimits:
    """Limits by model."""

    def __init__(self) -> None:
        self._entries: dict[str, Limits] = {}
        self._told: dict[str, Limits] = {}

    def learn(self, entry: ModelEntry) -> None:
        """Go by what a model's entry says, where no load says otherwise."""
        self._entries[entry.name] = Limits(entry.max_queued, entry.timeout_s)

    def of(self, name: str) -> Limits:
        """Give the limits of a model, by the name in its entry."""
        return self._told.get(name) or self._entries.get(name) or Limits()

    def change(self, name: str, *, max_queued: int | None, timeout_s: float | None) -> None:
        """Set what is not None, until the daemon ends."""
        if max_queued is None and timeout_s is None:
            return
        now = self.of(name)
        self._told[name] = Limits(
            now.max_queued if max_queued is None else max_queued,
            now.timeout_s if timeout_s is None else timeout_s,
        )

    def forget(self, name: str) -> None:
        """Go by the entry again."""
        self._told.pop(name, None)


class Waiting:
    """Inputs that wait or are computed, by model."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}

    def enter(self, name: str, count: int, *, limit: int, wait_s: Callable[[int], float]) -> None:
        """Count inputs in.

        Raises:
            Overloaded: there would be more than the limit; 0: there is none.
        """
        if limit and self._counts[name] + count > limit:
            full = Overloaded(
                f"{self._counts[name]} inputs of {name} are queued, {count} more are above its"
                f" limit of {limit} (stackctl models load {name} --max-queued)",
                hint="stackctl models ps",
                retry_after_s=round(wait_s(self._counts[name] + count - limit), 1),
            )
            full.queue_s = 0.0
            raise full
        self._counts[name] += count

    def leave(self, name: str, count: int) -> None:
        """Count inputs out."""
        self._counts[name] -= count
        if not self._counts[name]:
            del self._counts[name]
            for watcher in self._watchers.pop(name, ()):
                if not watcher.done():
                    watcher.set_result(None)

    async def drained(self, name: str, timeout_s: float) -> None:
        """Wait until there are none of a model.

        Raises:
            Conflict: there are some after so long.
        """
        if not self._counts[name]:
            return
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(name, []).append(watcher)
        try:
            await asyncio.wait_for(watcher, timeout_s)
        except TimeoutError as err:
            raise Conflict(
                f'{self._counts[name]} inputs of model "{name}" wait or are computed, expected'
                f" none within {timeout_s:.0f} s",
                hint="stackctl models ps",
            ) from err
