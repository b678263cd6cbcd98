"""``stackctl jobs``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import views
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl.cli.progress import events, follow, succeeded
from stackctl_commands.index import INDEX

app = group(INDEX["jobs"][1])

Id = Annotated[str, typer.Argument(help="Id of a job.", metavar="JOB")]


@command(app, "list", examples=["stackctl jobs list", "stackctl jobs list --json"])
def list_(ctx: typer.Context) -> None:
    """List jobs, newest first."""
    now = here(ctx)
    now.output.items(now.client.jobs.list().items, views.JOBS, empty="no jobs yet")


@command(app, examples=["stackctl jobs show JOB"])
def show(ctx: typer.Context, job: Id) -> None:
    """Show one job: parameters, progress, result or error."""
    now = here(ctx)
    now.output.show(now.client.jobs.show(job), lambda j: views.job_lines(now.output, j))


@command(app, examples=["stackctl jobs watch JOB", "stackctl jobs watch JOB --json"])
def watch(ctx: typer.Context, job: Id) -> None:
    """Follow a job until it ends; its failure is this command's."""
    now = here(ctx)
    found = now.client.jobs.show(job)
    if now.output.mode == "json":
        last = found
        for last in events(now, found):
            now.output.line(last, "")
        succeeded(last)
        return
    ended = follow(now, found)
    now.output.show(ended, lambda j: views.job_lines(now.output, j))


@command(app, examples=["stackctl jobs cancel JOB"])
def cancel(ctx: typer.Context, job: Id) -> None:
    """Ask a job to stop at its next safe point."""
    now = here(ctx)
    now.output.show(now.client.jobs.cancel(job), lambda j: [f"job {j.id}: {j.state}"])
