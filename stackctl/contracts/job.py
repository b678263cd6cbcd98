"""Jobs: anything that may take more than 300 ms."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
"""``interrupted``: the daemon ended while it ran, and the kind cannot resume."""


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is."""

    done: int = 0
    total: int | None = None
    """None while it is not known."""
    unit: str = "item"
    rate_per_s: float = 0.0
    eta_s: float | None = None
    message: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job as the daemon remembers it."""

    id: str
    kind: str
    """Such as ``search.index`` or ``models.pull``."""
    title: str
    state: JobState
    progress: JobProgress
    created_at: str
    """UTC, ISO 8601, with Z."""
    started_at: str | None = None
    finished_at: str | None = None
    attempts: int = 0
    """Times it was started: more than one after a restart of the daemon."""
    params: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    error_code: str = ""
    error_message: str = ""
    error_hint: str = ""


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, newest first."""

    items: list[Job]
