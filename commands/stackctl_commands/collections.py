"""``stackctl collections``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import views
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl_commands.index import INDEX

app = group(INDEX["collections"][1])

Name = Annotated[str, typer.Argument(help="Name of a collection.")]


@command(app, "list", examples=["stackctl collections list", "stackctl collections list --json"])
def list_(ctx: typer.Context) -> None:
    """List collections, with how much they hold and what they were fed from."""
    now = here(ctx)
    found = now.client.search.collections().items
    now.output.items(found, views.COLLECTIONS, empty="no collections (stackctl index PATH)")


@command(app, examples=["stackctl collections remove notes"])
def remove(ctx: typer.Context, name: Name) -> None:
    """Delete a collection's index; the files it was fed from stay."""
    now = here(ctx)
    now.client.search.remove(name)
    now.output.show({"removed": name}, lambda r: [f"removed {name}"])
