"""Threads that compute for one that reads commands; refuses to touch a queue or a socket.

What they did comes back in order of its end, announced on a descriptor that is polled together
with the socket. ONNX Runtime gives up the interpreter's lock while it computes.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

J = TypeVar("J")
D = TypeVar("D")

_JOIN_S = 1.0
"""How long the batches under way are waited for at the end; the daemon kills after 2 s."""


class Readable(Protocol):
    """A socket, or whatever else can be polled."""

    def fileno(self) -> int:
        """Give its descriptor."""
        ...


def wait(*sources: Readable, timeout_s: float | None = None) -> bool:
    """Wait until one of them can be read; False: none can."""
    poll = select.poll()
    for source in sources:
        poll.register(source.fileno(), select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


class Crew(Generic[J, D]):
    """So many jobs at once; a job is whose it is, and an iterator that does it piece by piece."""

    def __init__(self, name: str = "compute") -> None:
        self._name = name
        self.size = 0
        """Jobs that may run at once."""
        self.busy = 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._jobs: queue.SimpleQueue[tuple[int, J, Iterator[D]] | None] = queue.SimpleQueue()
        self._done: deque[tuple[int, J, D | BaseException | None]] = deque()
        self._put = 0
        self._since: dict[int, float] = {}
        """By the number of a job, when it began or last gave something."""
        self._threads: list[threading.Thread] = []

    @property
    def free(self) -> bool:
        """A job that is put now begins now."""
        return self.busy < self.size

    @property
    def since(self) -> float:
        """When the job of which nothing came for the longest began or gave that; 0: none runs."""
        return min(self._since.values(), default=0.0)

    def resize(self, size: int) -> None:
        """Let so many jobs run at once; threads that are there stay."""
        self.size = size
        while len(self._threads) < size:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def put(self, owner: J, job: Iterator[D]) -> None:
        """Have a job done by the next thread that is free."""
        self.busy += 1
        self._put += 1
        self._since[self._put] = time.monotonic()
        self._jobs.put((self._put, owner, job))

    def fileno(self) -> int:
        """Give the descriptor that can be read once a job gave something."""
        return self._wake

    def take(self) -> Iterator[tuple[J, D | None]]:
        """Give what jobs gave since the last time; None: the job ended.

        Raises:
            BaseException: whatever ended a job before its end.
        """
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while self._done:
            number, owner, found = self._done.popleft()
            if found is None or isinstance(found, BaseException):
                self.busy -= 1
                del self._since[number]
            else:
                self._since[number] = time.monotonic()
            if isinstance(found, BaseException):
                raise found
            yield owner, found

    def close(self) -> None:
        """End the threads after the jobs that they have begun."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_JOIN_S)
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._wake)  # else a thread would write to whatever has its number next

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            number, owner, pieces = job
            end: BaseException | None = None
            try:
                for piece in pieces:
                    self._tell(number, owner, piece)
            except BaseException as err:  # the thread that reads commands decides
                end = err
            self._tell(number, owner, end)
            del job, pieces, owner  # an idle thread keeps no model open

    def _tell(self, number: int, owner: J, found: D | BaseException | None) -> None:
        self._done.append((number, owner, found))
        os.eventfd_write(self._wake, 1)
