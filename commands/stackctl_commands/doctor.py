"""``stackctl doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import doctor as checks
from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl_commands.index import INDEX

app = single(INDEX["doctor"][1])


@command(app, examples=["stackctl doctor", "stackctl doctor --repair"])
def doctor(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Let the daemon repair degraded areas.")
    ] = False,
) -> None:
    """Look for problems and say how to mend them; ends with 3 when there are any."""
    now = here(ctx)
    # The daemon repairs, so it is started when it is not there; looking starts nothing.
    repaired = checks.repair(now.client) if repair else []
    report = checks.examine(now.running)
    report["repaired"] = repaired
    now.output.show(report, lambda r: checks.lines(now.output, r))
    if report["findings"]:
        raise typer.Exit(3)
