"""``stackctl status``."""

from __future__ import annotations

import typer

from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl.cli.views import status_lines
from stackctl_commands.index import INDEX

app = single(INDEX["status"][1])


@command(app, examples=["stackctl status", "stackctl status --json"])
def status(ctx: typer.Context) -> None:
    """Show daemon, areas, devices, collections, jobs and the last hour's figures."""
    now = here(ctx)
    now.output.show(now.client.system.status(), lambda s: status_lines(now.output, s))
