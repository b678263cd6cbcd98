"""Runs store calls on their own threads; refuses to share a connection between two.

One thread writes; a few read, each with a connection of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stackctl_daemon.search.store import Store

T = TypeVar("T")
READERS = 2


class StoreThreads:
    """The search database, from coroutines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, "search-writer")
        self._readers = ThreadPoolExecutor(READERS, "search-reader")
        self._local = threading.local()
        self._open: list[Store] = []
        self._write_store: Store | None = None

    async def open(self) -> None:
        """Open the file for writing, making or migrating it.

        Raises:
            StoreCorrupt: it is no database, or one of a newer version.
        """
        await self.write(lambda _: None)

    async def write(self, call: Callable[[Store], T]) -> T:
        """Run a call on the writer; calls run one after the other."""

        def run() -> T:
            if self._write_store is None:
                self._write_store = Store(self._path)
                self._open.append(self._write_store)
            return call(self._write_store)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def read(self, call: Callable[[Store], T]) -> T:
        """Run a call on a reader, beside the writer."""

        def run() -> T:
            store = getattr(self._local, "store", None)
            if store is None:
                store = self._local.store = Store(self._path, read_only=True)
                self._open.append(store)
            return call(store)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def close(self) -> None:
        """Finish what was begun, then close every connection."""
        loop = asyncio.get_running_loop()
        for pool in (self._readers, self._writer):
            await loop.run_in_executor(None, pool.shutdown)
        # The writer last: SQLite empties the write-ahead log when the last connection closes,
        # which a read-only one cannot.
        for store in sorted(self._open, key=lambda store: store is self._write_store):
            store.close()
        self._open.clear()
