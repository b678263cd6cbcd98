"""Follows a job on stderr; stdout stays the answer's.

On a terminal rich draws a bar, imported only when a job outlives 300 ms; elsewhere one line
every 10 s; nothing at all for programs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from stackctl.cli.context import Here
from stackctl.cli.text import clean, duration, short_path, size
from stackctl.client.jobs import ENDED
from stackctl.errors import Interrupted, JobFailed, Unreachable, rebuild

if TYPE_CHECKING:
    from stackctl.contracts.job import Job, JobProgress

PATIENCE_S = 0.3
LINE_INTERVAL_S = 10.0


class Display(Protocol):
    """Shows how far a job is."""

    def update(self, job: Job) -> None:
        """Take the job's latest state."""

    def close(self) -> None:
        """Clear what moves."""


def follow(here: Here, job: Job) -> Job:
    """Wait for a job, showing how far it is, and give it as it succeeded.

    Raises:
        StackctlError: the job's own error when it failed; JobFailed when somebody ended it.
        Interrupted: the user stopped waiting; the job goes on.
    """
    display = _display(here)
    last = job
    try:
        if job.state not in ENDED:
            for last in events(here, job):
                display.update(last)
    except KeyboardInterrupt:
        raise _left(job) from None
    finally:
        display.close()
    return succeeded(last)


def events(here: Here, job: Job) -> Iterator[Job]:
    """Give a job now and at each change, until it ends.

    Raises:
        Interrupted: the user stopped waiting; the job goes on.
        Unreachable: the daemon ended before the job.
    """
    last = job
    try:
        for last in here.client.jobs.watch(job.id):
            yield last
    except Unreachable as err:
        raise _cut_off(last) from err
    except KeyboardInterrupt:
        raise _left(job) from None


def describe(progress: JobProgress) -> str:
    """Progress in words: ``120/400 files, 31 files/s, 9 s left: notes.md``."""
    parts = [amount(progress)]
    if progress.rate_per_s:
        rate = progress.rate_per_s
        in_bytes = progress.unit == "byte"
        parts.append(f"{size(rate)}/s" if in_bytes else f"{rate:.3g} {progress.unit}s/s")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    message = f": {clean(short_path(progress.message))}" if progress.message else ""
    return ", ".join(parts) + message


def amount(progress: JobProgress, *, of_total: bool = True) -> str:
    """What is done, of how much if that is known: ``3/7 files``, ``12.0 MiB/87.1 MiB``."""
    done, unit = progress.done, progress.unit
    total = progress.total if of_total else None
    if unit == "byte":
        return size(done) if total is None else f"{size(done)}/{size(total)}"
    if total is None:
        return f"{done} {unit}{'s' if done != 1 else ''}"
    return f"{done}/{total} {unit}s"


class Silent:
    """Shows nothing."""

    def update(self, job: Job) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Nothing to clear."""


class Lines:
    """One line every 10 s, for logs."""

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._last = clock()

    def update(self, job: Job) -> None:
        """Write a line when the last is old enough."""
        if self._clock() - self._last >= LINE_INTERVAL_S:
            self._last = self._clock()
            self._write(f"{clean(job.title)}: {describe(job.progress)}\n")

    def close(self) -> None:
        """Nothing to clear."""


class Bar:
    """A bar on a terminal, drawn by rich once the job has outlived 300 ms."""

    def __init__(
        self, *, colour: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._colour = colour
        self._live: Any = None  # Any: rich is imported only when a bar is drawn
        self._task: Any = None

    def update(self, job: Job) -> None:
        """Move the bar."""
        if self._live is None:
            if self._clock() - self._began < PATIENCE_S:
                return
            self._live = self._open(job)
        progress = job.progress
        self._live.update(
            self._task, total=progress.total, completed=progress.done, text=describe(progress)
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()

    def _open(self, job: Job) -> Any:
        # Deferred: 115 ms of CPU that a quick job must not pay.
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        console = Console(stderr=True, no_color=not self._colour)
        live = Progress(
            # Neither column may wrap: a bar of changing height flickers.
            TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=2)),
            BarColumn(bar_width=20),
            TextColumn(
                "{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, ratio=3)
            ),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = live.add_task(escape(clean(job.title)), total=None, text="")
        live.start()
        return live


def _display(here: Here) -> Display:
    output = here.output
    if output.mode != "text":
        return Silent()
    if output.err.isatty():
        return Bar(colour=output.colour)
    return Lines(output.err.write)


def succeeded(job: Job) -> Job:
    """Give a job that has succeeded.

    Raises:
        StackctlError: the job's own error when it failed; JobFailed when somebody ended it.
        Unreachable: it has not ended, and the daemon tells no more.
    """
    if job.state == "succeeded":
        return job
    if job.state not in ENDED:
        raise _cut_off(job)
    hint = job.error_hint or f"stackctl jobs show {job.id}"
    if job.state == "failed" and job.error_message:
        raise rebuild(job.error_code or JobFailed.code, job.error_message, hint=hint)
    raise JobFailed(f"job {job.id} ({job.title}) was {job.state}", hint=hint)


def _cut_off(job: Job) -> Unreachable:
    return Unreachable(
        f"the daemon ended while job {job.id} was {job.state}",
        hint=f"stackctl jobs watch {job.id}",
    )


def _left(job: Job) -> Interrupted:
    return Interrupted(
        f"stopped waiting; job {job.id} goes on in the daemon",
        hint=f"stackctl jobs cancel {job.id}",
    )
