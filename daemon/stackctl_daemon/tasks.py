"""Background tasks with an owner; refuses to lose one, or the error it ended with.

The only place that creates bare tasks: the event loop keeps weak references alone, so that a
task without an owner can be collected in mid-flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class TaskOwner:
    """Holds a service's tasks until they end or the service closes."""

    def __init__(self, on_error: Callable[[str, BaseException], None] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_error = on_error
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task; an error that it ends with is logged under its name.

        Raises:
            RuntimeError: the owner is closed; the coroutine is closed too.
        """
        if self._closed:
            coro.close()
            raise RuntimeError(f"task {name} started after its owner was closed")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel every task and wait until all have ended; closing twice is harmless."""
        self._closed = True
        while others := self._tasks - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("task_failed task=%s error=%s", task.get_name(), error, exc_info=error)
        if self._on_error is not None:
            self._on_error(task.get_name(), error)
