"""``stackctl up``."""

from __future__ import annotations

import typer

from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl.cli.views import state_line
from stackctl.client.launcher import start
from stackctl.errors import Unreachable
from stackctl_commands.index import INDEX

app = single(INDEX["up"][1])


@command(app, examples=["stackctl up", "stackctl up --json"])
def up(ctx: typer.Context) -> None:
    """Start the daemon, unless it runs already, and show its state."""
    now = here(ctx)
    try:
        version = now.running.system.version()
    except Unreachable:
        if now.no_start:
            raise
        now.output.note("starting the daemon")
        start()
        version = now.running.system.version()
    now.output.show(version, lambda v: [state_line(now.output, v)])
