"""Jobs: what they are to the areas that run them; the store and runner live beside it.

An area registers a kind with a handler; the runner gives it a context for progress and cancel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stackctl.contracts.job import Job


class JobContext(Protocol):
    """What a running job may ask of its runner."""

    job_id: str

    def progress(
        self, done: int, total: int | None = None, *, unit: str = "item", message: str = ""
    ) -> None:
        """Report how far it is; cheap, call it for each item."""

    def check_cancelled(self) -> None:
        """Raise asyncio.CancelledError when somebody cancelled the job."""


JobHandler = Callable[[JobContext, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Runs a job from its JSON parameters to its JSON result; raises StackctlError to fail."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """How a kind of job is run."""

    name: str
    """``area.verb``."""
    handler: JobHandler
    resumable: bool
    """Started again after a restart of the daemon; else it ends as ``interrupted``."""
    exclusive: Callable[[dict[str, Any]], str] | None = None
    """Jobs whose key is equal run one after the other."""


class Jobs(Protocol):
    """Submits jobs."""

    async def submit(self, kind: str, title: str, params: dict[str, Any]) -> Job:
        """Give the job after its row is on disk; it starts as soon as there is room."""
        ...

    def active(self) -> list[Job]:
        """Give the jobs queued or running, without touching the disk."""
        ...

    def register(self, kind: JobKind) -> None:
        """Make a kind known; call before the runner starts."""
