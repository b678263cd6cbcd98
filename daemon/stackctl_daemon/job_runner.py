"""Runs jobs: at most four at once, cancelled promptly, taken up again after a restart.

Implements `stackctl_daemon.jobs.Jobs`. Refuses to know what a job does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stackctl.contracts.job import Job, JobProgress
from stackctl.contracts.system import AreaHealth
from stackctl.errors import Conflict, Failed, NotFound, StackctlError, StoreCorrupt
from stackctl_daemon.clock import Clock, SystemClock
from stackctl_daemon.events import EventSink, new_event
from stackctl_daemon.job_progress import ProgressMeter
from stackctl_daemon.job_store import JobStore, restore, salvage, set_aside
from stackctl_daemon.jobs import JobKind
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)
T = TypeVar("T")

CONCURRENT = 4
MAX_ATTEMPTS = 100
"""A job begun so often without an end may be what takes the daemon down."""
ENDED = frozenset(("succeeded", "failed", "cancelled", "interrupted"))


class _Running:
    """A job that is queued or running; the context that its handler sees."""

    def __init__(self, job: Job, runner: JobRunner) -> None:
        self.job = job
        self.job_id = job.id
        self.cancelled = False
        self.ending = False
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.meter = ProgressMeter(runner.clock)
        self._runner = runner

    def progress(
        self, done: int, total: int | None = None, *, unit: str = "item", message: str = ""
    ) -> None:
        """Report how far it is (from the loop's thread)."""
        now = self.meter.measure(done, total, unit=unit, message=message)
        self.set(progress=now)
        if self.meter.due():
            self._runner.save_soon(self)

    def check_cancelled(self) -> None:
        """Raise when somebody cancelled the job."""
        if self.cancelled:
            raise asyncio.CancelledError

    def set(self, **fields: Any) -> None:
        """Change the job and wake its watchers."""
        self.job = msgspec.structs.replace(self.job, **fields)
        self.changed.set()
        self.changed = asyncio.Event()


class JobRunner:
    """Owns the job database and the tasks that run jobs."""

    def __init__(
        self,
        path: Path,
        sink: EventSink,
        *,
        clock: Clock | None = None,
        concurrent: int = CONCURRENT,
    ) -> None:
        self.clock = clock or SystemClock()
        self._path = path
        self._sink = sink
        self._kinds: dict[str, JobKind] = {}
        self._live: dict[str, _Running] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(concurrent)
        self._tasks = TaskOwner()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._store: JobStore | None = None
        self._broken: StackctlError | None = None
        self._stopping = False

    def register(self, kind: JobKind) -> None:
        """Make a kind known; call before `start`."""
        self._kinds[kind.name] = kind

    async def start(self) -> None:
        """Open the store and take up what the last daemon left.

        Raises:
            StoreCorrupt: the database is unsound; jobs stay refused until `repair`.
        """
        try:
            self._store = await self._call(lambda: JobStore(self._path))
        except StackctlError as err:
            self._broken = err
            raise
        self._broken = None
        await self._take_up()

    async def _take_up(self) -> None:
        for job in await self._call(self._open.unfinished):
            if job.id in self._live:
                continue  # repaired while it ran
            kind = self._kinds.get(job.kind)
            if job.attempts >= MAX_ATTEMPTS:
                await self._give_up(job)
            elif kind is not None and (kind.resumable or job.state == "queued"):
                self._launch(msgspec.structs.replace(job, state="queued"), kind)
            else:
                await self._interrupt(job)

    async def close(self) -> None:
        """Stop running jobs at a safe point; their rows stay, so that a restart resumes them."""
        self._stopping = True
        await self._tasks.close()
        for running in list(self._live.values()):
            running.changed.set()
        if self._store is not None:
            await self._call(self._store.close)
            self._store = None
        self._thread.shutdown()

    async def submit(self, kind: str, title: str, params: dict[str, Any]) -> Job:
        """Give the job after its row is on disk.

        Raises:
            NotFound: no such kind.
            StoreCorrupt, DiskFull: the row cannot be written.
        """
        found = self._kinds.get(kind)
        if found is None:
            raise NotFound(f'no job kind "{kind}"', hint="stackctl status")
        if self._stopping:
            raise Conflict("stackctld is ending and takes no new job", hint="stackctl up")
        job = Job(
            id=secrets.token_hex(8),
            kind=kind,
            title=title,
            state="queued",
            progress=JobProgress(),
            created_at=self.clock.utc(),
            params=params,
        )
        await self._call(lambda: self._open.insert(job))
        self._emit(job, 0.0)
        self._launch(job, found)
        return job

    async def get(self, prefix: str) -> Job:
        """Give a job by its id or a unique beginning of it."""
        job = await self._call(lambda: self._open.find(prefix))
        running = self._live.get(job.id)
        return running.job if running is not None else job

    async def recent(self, *, limit: int = 100, state: str = "", kind: str = "") -> list[Job]:
        """Give jobs, newest first."""
        found = await self._call(lambda: self._open.recent(limit=limit, state=state, kind=kind))
        return [self._live[job.id].job if job.id in self._live else job for job in found]

    def active(self) -> list[Job]:
        """Give the jobs queued or running, without touching the disk."""
        return [running.job for running in self._live.values()]

    async def watch(self, prefix: str) -> AsyncIterator[Job]:
        """Give a job now and at each change, until it ends."""
        job = await self.get(prefix)
        running = self._live.get(job.id)
        while running is not None:
            changed, job = running.changed, running.job
            yield job
            if job.state in ENDED:
                return
            await changed.wait()
            if self._stopping and running.job is job:
                raise Failed("stackctld is ending; the job goes on when it starts again")
        yield job

    async def cancel(self, prefix: str) -> Job:
        """Cancel a job and give it as it is after.

        Raises:
            Conflict: it has ended already.
        """
        job = await self.get(prefix)
        running = self._live.get(job.id)
        if running is None or running.task is None:
            raise Conflict(
                f"job {job.id} has ended: {job.state}", hint=f"stackctl jobs show {job.id}"
            )
        running.cancelled = True
        if not running.ending:
            running.task.cancel()
        await asyncio.wait([running.task])
        return running.job

    async def repair(self) -> list[str]:
        """Set a corrupt database aside and take over what can be read; leave a sound one alone.

        Raises:
            Conflict: a newer stackctl wrote it.
        """
        live = self.active()
        # In one call: what running jobs write in the meantime waits for the new database.
        actions = await self._call(lambda: self._renew(live))
        self._broken = None
        await self._take_up()
        return actions

    def health(self) -> AreaHealth:
        """Say whether jobs can be kept."""
        if self._broken is None:
            return AreaHealth(name="jobs", state="ready")
        return AreaHealth(
            name="jobs",
            state="degraded",
            reason=self._broken.message,
            hint=self._broken.hint or "stackctl doctor --repair",
        )

    def save_soon(self, running: _Running) -> None:
        """Write a job's row without waiting for it."""
        if not self._stopping:
            self._tasks.spawn(self._save(running), name=f"save job {running.job_id}")

    # -- running --------------------------------------------------------------------------------

    def _launch(self, job: Job, kind: JobKind) -> None:
        running = self._live[job.id] = _Running(job, self)
        running.task = self._tasks.spawn(self._run(running, kind), name=f"job {job.id}")

    async def _run(self, running: _Running, kind: JobKind) -> None:
        began = self.clock.monotonic_s()
        fields: dict[str, Any]
        try:
            result = await self._in_turn(running, kind)
            fields = {"state": "succeeded", "result": result}
        except asyncio.CancelledError:
            if not running.cancelled:
                # The daemon ends: the row stays queued or running, and a restart decides.
                await self._save(running)
                raise
            fields = {"state": "cancelled"}
        except StackctlError as err:
            fields = _failure(err.code, err.message, err.hint)
        except Exception as err:
            # The task owner's edge: a job that fails by our bug ends as failed, and is logged.
            log.error(
                "job_failed job=%s kind=%s error=%r", running.job_id, kind.name, err, exc_info=err
            )
            fields = _failure(StackctlError.code, f"internal error: {err!r}", "stackctl logs")
        final = msgspec.structs.replace(
            running.job, finished_at=self.clock.utc(), progress=running.meter.last, **fields
        )
        running.ending = True
        await self._end(running, final, self.clock.monotonic_s() - began)

    async def _in_turn(self, running: _Running, kind: JobKind) -> dict[str, Any]:
        key = kind.exclusive(running.job.params) if kind.exclusive is not None else running.job_id
        # The key's lock first: a job that waits for another must not hold one of the slots.
        lock = self._locks.setdefault(f"{kind.name}:{key}", asyncio.Lock())
        async with lock, self._slots:
            running.set(
                state="running",
                started_at=self.clock.utc(),
                attempts=running.job.attempts + 1,
            )
            await self._save(running)
            self._emit(running.job, 0.0)
            return await kind.handler(running, running.job.params)

    async def _end(self, running: _Running, final: Job, duration_s: float) -> None:
        """Write the end of a job, then tell; the row is on disk before any watcher knows."""
        try:
            await self._call(lambda: self._open.update(final))
        except StackctlError as err:
            log.error("job_not_saved job=%s error=%s", final.id, err.message)
        running.set(**{n: getattr(final, n) for n in final.__struct_fields__})
        self._live.pop(final.id, None)
        self._emit(final, duration_s)
        log.info("job_ended job=%s kind=%s state=%s", final.id, final.kind, final.state)

    async def _interrupt(self, job: Job) -> None:
        message = f"stackctld ended while the job ran, and {job.kind} cannot resume"
        fields = _failure("interrupted", message, "stackctl jobs list")
        await self._end_idle(job, fields | {"state": "interrupted"})

    async def _give_up(self, job: Job) -> None:
        message = f"started {job.attempts} times without an end"
        await self._end_idle(job, _failure(Failed.code, message, f"stackctl jobs show {job.id}"))

    async def _end_idle(self, job: Job, fields: dict[str, Any]) -> None:
        """End a job that does not run."""
        ended = msgspec.structs.replace(job, finished_at=self.clock.utc(), **fields)
        await self._call(lambda: self._open.update(ended))
        self._emit(ended, 0.0)

    async def _save(self, running: _Running) -> None:
        job = running.job
        if job.state not in ENDED:
            await self._call(lambda: self._open.update(job))

    def _emit(self, job: Job, duration_s: float) -> None:
        bad = job.state in ("failed", "interrupted")
        # Steps have names of their own: the figures of a kind are those of its whole runs.
        name = job.kind if job.state in ENDED else f"{job.kind}.{job.state}"
        self._sink.emit(
            new_event(
                "job",
                name,
                outcome="error" if bad else "ok",
                error_code=job.error_code,
                duration_s=duration_s,
                items=job.progress.done,
                job_id=job.id,
                attributes={"state": job.state, "attempts": job.attempts},
            )
        )

    def _renew(self, live: list[Job]) -> list[str]:
        """Put a new database in the place of a corrupt one (in the jobs' thread)."""
        if self._store is not None:
            if not self._store.check():
                return [f"{self._path.name} is sound"]
            self._store.close()
            self._store = None
        kept = salvage(self._path)
        moved = set_aside(self._path)
        restore(self._path, [*kept, *live])
        self._store = JobStore(self._path)
        return [
            *moved,
            f"made a new {self._path} with the {len(kept)} jobs that could be read;"
            " others are forgotten, and those that had not ended must be begun again",
        ]

    @property
    def _open(self) -> JobStore:
        if self._store is None:
            raise self._broken or StoreCorrupt(
                f"{self._path} is not open", hint="stackctl doctor --repair"
            )
        return self._store

    async def _call(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, fn)
        except StoreCorrupt as err:
            self._broken = err
            raise


def _failure(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"state": "failed", "error_code": code, "error_message": message, "error_hint": hint}
