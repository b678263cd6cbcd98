"""``stackctl index``; not named index.py, which is the index of commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from stackctl.cli import forgetting, views
from stackctl.cli.context import here
from stackctl.cli.files import absolute
from stackctl.cli.group import command, single
from stackctl.cli.model import need_default
from stackctl.cli.progress import follow
from stackctl_commands.index import INDEX

app = single(INDEX["index"][1])


@command(
    app,
    examples=[
        "stackctl index ~/notes",
        "stackctl index src docs --collection work",
        "stackctl index --remove ~/old-notes",
    ],
)
def index(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files or folders.", metavar="PATH...")],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Collection to index into.")
    ] = "default",
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Keep following changes, or end that."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Forget what was indexed from PATH; files stay.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Read unchanged files too.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
) -> None:
    """Index files and folders into a collection, skipping what has not changed."""
    now = here(ctx)
    wanted = absolute(paths, exist=False)
    if remove:
        forgetting.check(watch=watch, force=force)
        forgetting.run(now, wanted, collection, detach=detach)
        return
    if all(map(os.path.lexists, wanted)):
        # Else the daemon refuses: it knows whether what is gone was indexed before.
        need_default(now)
    job = now.client.search.index(wanted, collection=collection, watch=watch, force=force)
    if not detach:
        job = follow(now, job)
    lines = views.index_lines(now.output, job, collection)
    now.output.show(job, lambda _: lines, quiet=lambda j: [j.id])
