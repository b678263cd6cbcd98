"""Work of threads that ends when nobody waits for it any more.

Refuses to kill a thread: the work asks between two blocks whether it is to go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[], None]
"""Raises `Stopped` once the work is to end; cheap, called for each block."""


class Stopped(Exception):
    """The work was stopped; never leaves the area."""


def go_on() -> None:
    """Be the check of work that nobody stops."""


class StoppableWork:
    """Runs work in an executor, and gives its end only after it has ended.

    Args:
        executor: runs it; its owner shuts it down.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._closing = threading.Event()

    def close(self) -> None:
        """Let what runs end at its next block."""
        self._closing.set()

    async def run(self, work: Callable[[Check], T]) -> T:
        """Give what the work gives.

        Cancelled, it stops the work and waits until the thread has left it: files are closed by
        then, and whatever the work cleans up is clean.
        """
        stop = threading.Event()

        def check() -> None:
            if stop.is_set() or self._closing.is_set():
                raise Stopped

        job = self._executor.submit(work, check)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except Stopped:
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            stop.set()
            if not job.cancel():
                await asyncio.wait([future])
                if not future.cancelled():
                    future.exception()  # seen, so that asyncio does not report it
            raise
