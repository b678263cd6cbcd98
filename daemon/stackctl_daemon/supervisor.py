"""Keeps worker processes running; refuses to know what they do.

A process that ends is started again after a back-off of 0.1 s doubling to 30 s; 60 healthy
seconds reset it. Five quick exits in a row are a crash loop: the state becomes ``failed`` and
stays so until `Supervised.restart`.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeVar

from stackctl_daemon.clock import Clock, SystemClock
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)
A = TypeVar("A")

SupervisedState = Literal["off", "starting", "ready", "restarting", "failed"]

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 30.0
HEALTHY_AFTER_S = 60.0
MAX_QUICK_EXITS = 5
TERM_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent thread ends (prctl(2)).

    Call it first thing in the worker, with the daemon's pid from its arguments: a parent that
    ended before the call is noticed by the pid. Safer than ``preexec_fn``, which may deadlock.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


class Supervised:
    """One worker process that is started, watched, and started again.

    Args:
        name: for logs and the task.
        start: starts the process; the process may still be loading when it returns.
        on_ready: awaited with the process until the worker answers; the state is ``starting``
            until then. An error kills the process and counts as an exit.
        on_exit: called with the exit status (negative: signal) each time it ends by itself.
        owner: who holds the watching task.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[asyncio.subprocess.Process]],
        on_ready: Callable[[asyncio.subprocess.Process], Awaitable[None] | None] | None = None,
        on_exit: Callable[[int], Awaitable[None] | None] | None = None,
        *,
        owner: TaskOwner | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.state: SupervisedState = "off"
        self.restarts = 0
        self.process: asyncio.subprocess.Process | None = None
        self._start = start
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._own = owner is None
        self._owner = owner or TaskOwner()
        self._clock = clock or SystemClock()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while one runs."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    def run(self) -> None:
        """Begin; a second call while it runs does nothing."""
        if self._task is None or self._task.done():
            self.state = "starting"
            self._task = self._owner.spawn(self._supervise(), name=f"supervise {self.name}")

    async def restart(self) -> None:
        """Leave a crash loop, or replace a running process."""
        await self._stop()
        self.run()

    async def close(self) -> None:
        """End the process (SIGTERM, after 5 s SIGKILL) and the watching."""
        await self._stop()
        if self._own:
            await self._owner.close()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.state = "off"

    async def _supervise(self) -> None:
        quick_exits, backoff_s = 0, FIRST_BACKOFF_S
        while True:
            began = self._clock.monotonic_s()
            status = await self._run_once()
            lived_s = self._clock.monotonic_s() - began
            log.warning("worker_exited name=%s status=%d lived_s=%.3f", self.name, status, lived_s)
            if lived_s >= HEALTHY_AFTER_S:
                quick_exits, backoff_s = 0, FIRST_BACKOFF_S
            quick_exits += 1
            failed = quick_exits >= MAX_QUICK_EXITS
            self.state = "failed" if failed else "restarting"
            await _call(self._on_exit, status)
            if failed:
                log.error("worker_crash_loop name=%s exits=%d", self.name, quick_exits)
                return
            await self._clock.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
            self.restarts += 1

    async def _run_once(self) -> int:
        """Give the exit status of one life; 127 when it could not even be started."""
        try:
            process = self.process = await self._start()
        except OSError as err:
            log.error("worker_not_started name=%s error=%s", self.name, err)
            return 127
        try:
            try:
                await _call(self._on_ready, process)
                self.state = "ready"
            except Exception as err:
                # Whatever kept it from being ready is the worker's failure, not the supervisor's.
                log.error("worker_not_ready name=%s error=%s", self.name, err, exc_info=err)
                await terminate(process)
            return await process.wait()
        finally:
            await terminate(process)


async def terminate(process: asyncio.subprocess.Process, grace_s: float = TERM_GRACE_S) -> None:
    """End a process: SIGTERM, and SIGKILL when it still runs after ``grace_s``."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except (TimeoutError, asyncio.CancelledError) as err:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(err, asyncio.CancelledError):
            raise


async def _call(callback: Callable[[A], Awaitable[None] | None] | None, argument: A) -> None:
    if callback is not None:
        result = callback(argument)
        if inspect.isawaitable(result):
            await result
