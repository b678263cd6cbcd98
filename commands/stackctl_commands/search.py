"""``stackctl search``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from stackctl.cli import hits
from stackctl.cli.context import here
from stackctl.cli.files import narrowed
from stackctl.cli.group import command, single
from stackctl.cli.model import need_default
from stackctl_commands.index import INDEX

app = single(INDEX["search"][1])


@command(
    app,
    examples=['stackctl search "how do I rotate keys"', "stackctl search timeouts --path '*.md'"],
)
def search(
    ctx: typer.Context,
    query: Annotated[list[str], typer.Argument(help="What you look for.", metavar="QUERY...")],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Collection to ask.")
    ] = "default",
    mode: Annotated[
        Literal["hybrid", "keyword", "semantic"], typer.Option(help="How to rank.")
    ] = "hybrid",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Most hits.")] = 10,
    path: Annotated[str, typer.Option(help="Keep what lies under a path or fits a glob.")] = "",
    type: Annotated[
        Literal["text", "markdown", "code", "html", "pdf", "docx"] | None,
        typer.Option(help="Keep one type of file."),
    ] = None,
) -> None:
    """Ask a collection; hits are ranked and cited."""
    now = here(ctx)
    if mode != "keyword":
        need_default(now)
    reply = now.client.search.query(
        " ".join(query),
        collection=collection,
        mode=mode,
        limit=limit,
        path=narrowed(path),
        type=type or "",
    )
    hits.show(now.output, reply)
