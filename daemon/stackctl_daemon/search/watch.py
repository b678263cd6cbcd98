"""Follows watched sources and asks for an index job when something changes; refuses to index.

The only importer of watchfiles.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from watchfiles import awatch

from stackctl.errors import StackctlError
from stackctl_daemon.tasks import TaskOwner

DEBOUNCE_MS = 400
RETRY_S = 30.0
log = logging.getLogger(__name__)

Watched = tuple[str, bytes]
"""Collection and root."""
OnChange = Callable[[str, bytes], Awaitable[None]]


class Watcher:
    """One task for each watched root."""

    def __init__(self, on_change: OnChange, tasks: TaskOwner, *, retry_s: float = RETRY_S) -> None:
        self._on_change = on_change
        self._tasks = tasks
        self._retry_s = retry_s
        self._running: dict[Watched, asyncio.Event] = {}

    @property
    def watched(self) -> list[Watched]:
        """What is being followed."""
        return sorted(self._running)

    def follow(self, wanted: Iterable[Watched], *, catch_up: bool = False) -> None:
        """Follow exactly these, starting and ending tasks as needed.

        ``catch_up`` asks for a job for each new one at once: nobody watched until now.
        """
        keep = set(wanted)
        for key in set(self._running) - keep:
            self._running.pop(key).set()
        for key in keep - set(self._running):
            stop = self._running[key] = asyncio.Event()
            self._tasks.spawn(self._watch(*key, stop, missed=catch_up), name=f"watch-{key[0]}")

    async def _watch(
        self, collection: str, root: bytes, stop: asyncio.Event, *, missed: bool
    ) -> None:
        path = Path(os.fsdecode(root))
        while not stop.is_set():
            seen = _identity(path)
            try:
                if seen is not None:
                    # It yields on a time-out too, so that a root replaced in silence is noticed.
                    async for changes in awatch(
                        path,
                        stop_event=stop,
                        debounce=DEBOUNCE_MS,
                        rust_timeout=1000,
                        yield_on_timeout=True,
                    ):
                        if changes or missed:
                            await self._on_change(collection, root)
                            missed = False
                        if _identity(path) != seen:
                            break
            except (OSError, StackctlError) as err:
                log.warning("watch_failed path=%s error=%s retry_s=%s", path, err, self._retry_s)
                seen = None
            missed = True
            if seen is not None and _identity(path) is not None:
                continue  # an editor put a new file in the old one's place
            # The root is gone, or the system has no watches left: look again later.
            try:
                async with asyncio.timeout(self._retry_s):
                    await stop.wait()
            except TimeoutError:
                continue


def _identity(path: Path) -> tuple[int, int] | None:
    # One stat, at most once a second: an executor would cost more than it saves.
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
