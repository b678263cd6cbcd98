"""Jobs that run where they are submitted, and an event sink that keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from stackctl.contracts.event import Event
from stackctl.contracts.job import Job, JobProgress
from stackctl_daemon.jobs import JobKind


class Context:
    """A job's context that cancels when its progress reaches a number."""

    job_id = "job-1"

    def __init__(self, cancel_at: int | None = None) -> None:
        self._cancel_at = cancel_at
        self.messages: list[str] = []

    def progress(
        self, done: int, total: int | None = None, *, unit: str = "item", message: str = ""
    ) -> None:
        self.messages.append(message)

    def check_cancelled(self) -> None:
        if self._cancel_at is not None and len(self.messages) >= self._cancel_at:
            raise asyncio.CancelledError


class InlineJobs:
    """Runs a job at once, and keeps what it gave."""

    def __init__(self) -> None:
        self.kinds: dict[str, JobKind] = {}
        self.results: list[dict[str, Any]] = []
        self.context = Context()

    def register(self, kind: JobKind) -> None:
        self.kinds[kind.name] = kind

    def active(self) -> list[Job]:
        return []

    async def submit(self, kind: str, title: str, params: dict[str, Any]) -> Job:
        self.results.append(await self.kinds[kind].handler(self.context, params))
        progress = JobProgress()
        return Job(
            id="1", kind=kind, title=title, state="succeeded", progress=progress, created_at=""
        )


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, events: Sequence[Event]) -> None:
        self.events += events

    def emit(self, event: Event) -> None:
        self.events.append(event)
