"""Jobs over HTTP; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.job import Job, JobList
from stackctl.errors import Conflict, NotFound, StoreCorrupt
from stackctl_daemon.http.registry import Query, Reply, Request, Route
from stackctl_daemon.job_runner import JobRunner


def routes(runner: JobRunner) -> list[Route]:
    """Give the routes of jobs."""

    async def list_jobs(request: Request) -> Reply:
        return Reply(JobList(items=await runner.recent(**request.query)))

    async def show(request: Request) -> Reply:
        return Reply(await runner.get(request.params["id"]))

    async def events(request: Request) -> Reply:
        job = await runner.get(request.params["id"])  # an unknown id is a 404, not a stream
        return Reply(stream=runner.watch(job.id))

    async def cancel(request: Request) -> Reply:
        return Reply(await runner.cancel(request.params["id"]))

    common = (NotFound, StoreCorrupt)
    filters = (
        Query("limit", int, 100, "How many at most.", 1, 1000),
        Query("state", str, "", "Keep one state.", maximum=32),
        Query("kind", str, "", "Keep one kind.", maximum=64),
    )
    return [
        Route(
            "jobs.list",
            "GET",
            "/v1/jobs",
            "read",
            list_jobs,
            "Jobs, newest first.",
            reply=JobList,
            queries=filters,
            errors=(StoreCorrupt,),
        ),
        Route(
            "jobs.show",
            "GET",
            "/v1/jobs/{id}",
            "read",
            show,
            "One job, by its id or a unique beginning of it.",
            reply=Job,
            errors=common,
        ),
        Route(
            "jobs.events",
            "GET",
            "/v1/jobs/{id}/events",
            "read",
            events,
            "The job now and at each change, until it ends.",
            reply=Job,
            stream=True,
            errors=common,
        ),
        Route(
            "jobs.cancel",
            "POST",
            "/v1/jobs/{id}/cancel",
            "operate",
            cancel,
            "Cancel a job that is queued or running.",
            reply=Job,
            errors=(*common, Conflict),
            durable=True,
        ),
    ]
