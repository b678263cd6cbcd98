"""``stackctl tui``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl_commands.index import INDEX

app = single(INDEX["tui"][1])

EXAMPLES = ["stackctl tui", "stackctl tui --read-only", "stackctl tui --once overview"]


@command(app, examples=EXAMPLES)
def tui(
    ctx: typer.Context,
    *,
    screen: Annotated[str, typer.Option("--screen", help="Screen to begin with.")] = "overview",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse every action that changes something.")
    ] = False,
    once: Annotated[
        str, typer.Option("--once", metavar="SCREEN", help="Print a screen as text, and end.")
    ] = "",
    width: Annotated[
        int, typer.Option("--width", min=0, max=500, help="Of --once; 0: COLUMNS, or 100.")
    ] = 0,
    height: Annotated[
        int, typer.Option("--height", min=0, max=500, help="Of --once; 0: LINES, or 40.")
    ] = 0,
) -> None:
    """Open the dashboard: what changed, why, and what to do."""
    # Deferred: textual is imported only to run it.
    from stackctl.tui import launch

    now = here(ctx)
    if once:
        now.output.write(launch.text(once, width=width, height=height))
    else:
        launch.run(screen, read_only=read_only)
