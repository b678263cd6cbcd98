"""Questions to the store in a thread of their own: bounded in number and in time.

Refuses to write. Loads go on beside a question: each has its own cursor, and a view of the store
as it was when it began.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stackctl.errors import Overloaded, TimedOut
from stackctl_daemon.analytics.store import Store
from stackctl_daemon.analytics.store_error import translate

T = TypeVar("T")

MAX_WAITING = 32


class Reader:
    """Runs one question after the other."""

    def __init__(self, store: Store):
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="analytics-reader")
        self._waiting = 0

    async def run(self, work: Callable[[Any], T], timeout_s: float) -> T:
        """Give what ``work`` makes of a cursor; it is interrupted after ``timeout_s``.

        Raises:
            Overloaded: too many wait, or the store was closed meanwhile.
            TimedOut: it took longer.
            StoreCorrupt, Failed: the store cannot answer.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("too many questions to analytics", retry_after_s=0.5)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._read, work, timeout_s)
        # Counted until it ends, also where whoever asked has left.
        future.add_done_callback(self._ended)
        return await future

    def close(self) -> None:
        """Take no more; the store interrupts what runs when it is closed."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ended(self, _: Any) -> None:
        self._waiting -= 1

    def _read(self, work: Callable[[Any], T], timeout_s: float) -> T:
        import duckdb

        late, done = threading.Event(), threading.Event()
        with self._store.reading() as cursor:
            watch = threading.Thread(
                target=_stop, args=(cursor, timeout_s, late, done), name="analytics-watch"
            )
            watch.start()
            try:
                return work(cursor)
            except duckdb.Error as err:
                if late.is_set():
                    raise TimedOut(
                        f"the question took longer than {timeout_s:g} s: "
                        "ask for a shorter range or fewer groups"
                    ) from err
                raise translate(err, self._store.path) from err
            finally:
                done.set()
                watch.join()


def _stop(cursor: Any, timeout_s: float, late: threading.Event, done: threading.Event) -> None:
    """Interrupt a question that is late until it ends: between two statements it is not heard."""
    if done.wait(timeout_s):
        return
    late.set()
    while True:
        cursor.interrupt()
        if done.wait(0.05):
            return
