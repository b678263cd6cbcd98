"""``stackctl api``."""

from __future__ import annotations

import typer

from stackctl.cli import access
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl_commands.index import INDEX

app = group(INDEX["api"][1])


@command(app, examples=["stackctl api env", 'eval "$(stackctl api env)"'])
def env(ctx: typer.Context) -> None:
    """Print address and token of the API's port as OpenAI's clients read them from the shell."""
    now = here(ctx)
    now.output.show(access.read(now.client.system.status()), access.environment)


@command(app, examples=["stackctl api token", "stackctl api token --json"])
def token(ctx: typer.Context) -> None:
    """Print the token of the API's port; the file it lies in is in the JSON."""
    now = here(ctx)
    now.output.show(access.token(), lambda reply: [reply["token"]])
