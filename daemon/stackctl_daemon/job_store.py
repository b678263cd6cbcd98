"""Jobs on disk: one SQLite table; refuses to run anything.

Belongs to one thread at a time: the runner calls it in a single-thread executor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from stackctl.contracts.job import Job
from stackctl.errors import Invalid, NotFound, StackctlError
from stackctl_daemon.sqlite import Database, Row, open_sound, refuse_newer

KEPT = 1000
"""Jobs remembered; older ones that have ended are forgotten."""

_MIGRATIONS = (
    """CREATE TABLE job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX job_by_state ON job (state)",
)


class JobStore:
    """Rows of jobs; each write is durable when it returns."""

    def __init__(self, path: Path) -> None:
        """Open or create the database.

        Raises:
            StoreCorrupt: the file is not a sound database.
            Conflict: a newer stackctl wrote it.
        """
        self.path = path
        self._database = open_sound(path, _MIGRATIONS)

    def insert(self, job: Job) -> None:
        """Add a job and forget the oldest beyond `KEPT`."""
        with self._database.transaction():
            self._database.rows(
                "INSERT INTO job (id, kind, state, body) VALUES (?, ?, ?, ?)",
                (job.id, job.kind, job.state, msgspec.json.encode(job)),
            )
            self._database.rows(
                "DELETE FROM job WHERE state NOT IN ('queued', 'running')"
                " AND number <= (SELECT max(number) FROM job) - ?",
                (KEPT,),
            )

    def update(self, job: Job) -> None:
        """Replace a job's row; one that has ended stays as it ended."""
        self._database.rows(
            "UPDATE job SET state = ?, body = ? WHERE id = ? AND state IN ('queued', 'running')",
            (job.state, msgspec.json.encode(job), job.id),
        )

    def recent(self, *, limit: int = KEPT, state: str = "", kind: str = "") -> list[Job]:
        """Give jobs, newest first."""
        found = self._database.rows(
            "SELECT body FROM job WHERE (:state = '' OR state = :state)"
            " AND (:kind = '' OR kind = :kind) ORDER BY number DESC LIMIT :limit",
            {"state": state, "kind": kind, "limit": limit},
        )
        return [_job(row) for row in found]

    def find(self, prefix: str) -> Job:
        """Give the job whose id is, or alone begins with, ``prefix``.

        Raises:
            NotFound: there is none.
            Invalid: several begin with it.
        """
        found = self._database.rows(
            "SELECT body FROM job WHERE substr(id, 1, :size) = :prefix"
            " ORDER BY id = :prefix DESC LIMIT 2",
            {"prefix": prefix, "size": len(prefix)},
        )
        jobs = [_job(row) for row in found] if prefix else []
        if not jobs:
            raise NotFound(f'job "{prefix}" not found', hint="stackctl jobs list")
        if len(jobs) > 1 and jobs[0].id != prefix:
            raise Invalid(
                f'"{prefix}" begins several job ids: give more of it', hint="stackctl jobs list"
            )
        return jobs[0]

    def unfinished(self) -> list[Job]:
        """Give queued and running jobs, oldest first."""
        found = self._database.rows(
            "SELECT body FROM job WHERE state IN ('queued', 'running') ORDER BY number"
        )
        return [_job(row) for row in found]

    def check(self) -> list[str]:
        """Give what the integrity check finds."""
        return self._database.check()

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def salvage(path: Path) -> list[Job]:
    """Give the jobs of a damaged database that can still be read, oldest first.

    Raises:
        Conflict: a newer stackctl wrote it, and it is not damaged.
    """
    refuse_newer(path, _MIGRATIONS)
    found: list[Job] = []
    if not path.exists():
        return found
    try:
        database = Database(path, read_only=True)
    except StackctlError:
        return found
    try:
        # Row by row from both ends: a damaged page takes only what lies on it.
        for order in ("ASC", "DESC"):
            found += _readable(database, order)
    finally:
        database.close()
    once = {job.id: job for job in found}
    return sorted(once.values(), key=lambda job: job.created_at)


def restore(path: Path, jobs: Sequence[Job]) -> None:
    """Make a database of these jobs, the last of each id counting."""
    store = JobStore(path)
    try:
        for job in {job.id: job for job in jobs}.values():
            store.insert(job)
    finally:
        store.close()


def _readable(database: Database, order: str) -> list[Job]:
    found = []
    try:
        for row in database.each(f"SELECT body FROM job NOT INDEXED ORDER BY number {order}"):
            found.append(_job(row))
    except (StackctlError, msgspec.MsgspecError):
        return found
    return found


def set_aside(path: Path) -> list[str]:
    """Rename a corrupt database and its log files away; give what was renamed."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    moved = []
    for suffix in ("", "-wal", "-shm"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            new = path.with_name(f"{path.name}{suffix}.corrupt-{stamp}-{os.getpid()}")
            old.rename(new)
            moved.append(f"set {old} aside as {new.name}")
    return moved


def _job(row: Row) -> Job:
    body: Any = row[0]
    return msgspec.json.decode(body, type=Job)
