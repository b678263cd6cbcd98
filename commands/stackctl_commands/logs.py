"""``stackctl logs``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl import paths
from stackctl.cli import logfile
from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl.errors import Interrupted
from stackctl_commands.index import INDEX

app = single(INDEX["logs"][1])


@command(app, examples=["stackctl logs -n 50", "stackctl logs --follow"])
def logs(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new lines, across rotation.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines to begin with.")] = 100,
) -> None:
    """Show the end of the daemon's log; --json gives its lines as they are."""
    now = here(ctx)
    file = paths.state_dir() / "stackctld.log"
    try:
        for line in logfile.read(file, lines, follow=follow):
            logfile.show(now.output, line)
    except KeyboardInterrupt:
        if not follow:
            raise
        # How one leaves a log: no word, only the status.
        raise typer.Exit(Interrupted.exit_code) from None
