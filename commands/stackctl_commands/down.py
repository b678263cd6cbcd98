"""``stackctl down``."""

from __future__ import annotations

import typer

from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl.client.ending import stop
from stackctl_commands.index import INDEX

app = single(INDEX["down"][1])


@command(app, examples=["stackctl down", "stackctl down --quiet"])
def down(ctx: typer.Context) -> None:
    """Ask the daemon to finish what it does, and wait until its process is gone."""
    now = here(ctx)
    ended = stop(now.running)
    now.output.show(
        {"stopped": ended is not None, "pid": ended},
        lambda r: [f"stopped (pid {r['pid']})" if r["stopped"] else "the daemon was not running"],
    )
