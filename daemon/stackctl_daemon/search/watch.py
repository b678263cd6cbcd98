"""Follows watched sources and asks for an index job when something changes; refuses to index.

The only importer of watchfiles.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from stackctl.errors import StackctlError
from stackctl_daemon.tasks import TaskOwner

DEBOUNCE_MS = 400
MOUNTS = Path("/proc/self/mountinfo")
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
        unnamed = False
        while not stop.is_set():
            seen = _identity(path)
            try:
                if unnamed:
                    # The next notification may be as bad: what changed is read now, and again
                    # once the watch stands, for what changes in between.
                    await self._on_change(collection, root)
                    unnamed = False
                if seen is not None:
                    # It yields on a time-out too, so that a root replaced in silence is noticed.
                    with _utf8(path) as name:
                        async for changes in awatch(
                            name,
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
            except ExceptionGroup as errors:
                # watchfiles ends at a changed file whose name is not UTF-8: begin it again.
                if errors.split(WatchfilesRustInternalError)[1] is not None:
                    raise
                unnamed = True
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


@contextmanager
def _utf8(path: Path) -> Iterator[Path]:
    """Give the path, or for the time of the block a link to it: watchfiles takes UTF-8 alone."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # No descriptor of it: that would keep its disk from being unmounted.
        with TemporaryDirectory(prefix="stackctl-watch-") as folder:
            link = Path(folder, "root")
            link.symlink_to(path)
            yield link
        return
    yield path


def _identity(path: Path) -> tuple[int, int, frozenset[str]] | None:
    """Give what changes when a root is replaced, or a disk below it comes or goes."""
    # A stat and a small file, once a second at most: an executor would cost more than it saves.
    try:
        found = path.stat()
        table = os.fsdecode(MOUNTS.read_bytes())
        return found.st_dev, found.st_ino, mounted_below(table, os.path.realpath(path))
    except OSError:
        return None


def mounted_below(table: str, root: str) -> frozenset[str]:
    """Give the ids of the mounts below a root, of which no notification tells.

    Args:
        table: as ``/proc/self/mountinfo`` (proc(5)): a mount a line, its id first, its place
            fifth, with blanks and the like as three octal digits.
        root: without links.
    """
    if root == "/":
        # Everything is below it, and something is mounted all the time.
        return frozenset()
    start = "".join(f"\\{ord(c):03o}" if c in "\\ \t\n" else c for c in root) + "/"
    rows = (line.split(" ", 5) for line in table.splitlines())
    return frozenset(row[0] for row in rows if len(row) > 4 and row[4].startswith(start))
