"""Calls about jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.job import Job, JobList

ENDED = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
"""States that a job does not leave."""


class JobCalls:
    """List, show, watch, cancel."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> JobList:
        """Jobs, newest first."""
        return cast("JobList", self._transport.request("GET", "/v1/jobs"))

    def show(self, job_id: str) -> Job:
        """One job."""
        return cast("Job", self._transport.request("GET", f"/v1/jobs/{quote(job_id, safe='')}"))

    def watch(self, job_id: str) -> Iterator[Job]:
        """Give the job at each change, and last as it ended."""
        path = f"/v1/jobs/{quote(job_id, safe='')}/events"
        return cast("Iterator[Job]", self._transport.stream("GET", path, timeout_s=3600.0))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop at its next safe point."""
        path = f"/v1/jobs/{quote(job_id, safe='')}/cancel"
        return cast("Job", self._transport.request("POST", path))
