"""``stackctl demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import demonstration, hits
from stackctl.cli.context import here
from stackctl.cli.files import absolute
from stackctl.cli.group import command, single
from stackctl.cli.model import need_default
from stackctl.cli.progress import follow
from stackctl.client.ending import stop
from stackctl_commands.index import INDEX

app = single(INDEX["demo"][1])


@command(app, examples=["stackctl demo", 'stackctl demo ~/notes --query "what did I decide"'])
def demo(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files to index; the guide and Python's own when none are given."),
    ] = None,
    query: Annotated[str, typer.Option(help="What to ask.")] = demonstration.QUERY,
    down: Annotated[bool, typer.Option("--down", help="Stop the daemon afterwards.")] = False,
) -> None:
    """Start the stack, index real files into the collection "demo" and ask them a question."""
    now = here(ctx)
    files = absolute(paths) if paths else demonstration.files()
    need_default(now)
    job = follow(now, now.client.search.index(files, collection="demo"))
    demonstration.report(now.output, job)
    demonstration.ask(now.output, query)
    hits.show(now.output, now.client.search.query(query, collection="demo", limit=5))
    demonstration.next_commands(now.output)
    if down:
        stop(now.running)
