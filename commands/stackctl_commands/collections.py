"""``stackctl collections``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stackctl.cli import views
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl.cli.table import Column
from stackctl.cli.text import short_path
from stackctl_commands.index import INDEX

app = group(INDEX["collections"][1])

MOST_PATHS = 3
"""More make a line that nobody reads; ``--json`` has all."""


def _sources(sources: Sequence[Any]) -> str:
    """Give the paths that a collection was fed from, and how many more there are."""
    shown = [f"{short_path(s.path)}{' (watched)' * s.watched}" for s in sources[:MOST_PATHS]]
    hidden = len(sources) - len(shown)
    return ", ".join([*shown, f"{hidden} more with --json"] if hidden else shown)


COLUMNS = [
    *(column for column in views.COLLECTIONS if column.head != "SOURCES"),
    Column(
        "SOURCES",
        lambda c: _sources(c.sources),
        lambda c: ", ".join(s.path for s in c.sources),
        shrink=True,
    ),
]

Name = Annotated[str, typer.Argument(help="Name of a collection.")]


@command(app, "list", examples=["stackctl collections list", "stackctl collections list --json"])
def list_(ctx: typer.Context) -> None:
    """List collections, with how much they hold and what they were fed from."""
    now = here(ctx)
    found = now.client.search.collections().items
    now.output.items(found, COLUMNS, empty="no collections (stackctl index PATH)")


@command(app, examples=["stackctl collections remove notes"])
def remove(ctx: typer.Context, name: Name) -> None:
    """Delete a collection's index; the files it was fed from stay."""
    now = here(ctx)
    now.client.search.remove(name)
    now.output.show({"removed": name}, lambda r: [f"removed {name}"])
