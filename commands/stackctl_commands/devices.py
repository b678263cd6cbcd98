"""``stackctl devices``."""

from __future__ import annotations

import typer

from stackctl.cli import views
from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl_commands.index import INDEX

app = single(INDEX["devices"][1])


@command(app, examples=["stackctl devices", "stackctl devices --json"])
def devices(ctx: typer.Context) -> None:
    """List devices, their workers, and what ONNX Runtime really runs on."""
    now = here(ctx)
    found = now.client.devices.list()
    now.output.items(found.items, views.DEVICES, empty="no devices", whole=found)
    for problem in found.problems:
        now.output.note(f"note: {problem}")
