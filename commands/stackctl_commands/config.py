"""``stackctl config``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl import paths
from stackctl.cli import configuration
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl_commands.index import INDEX

app = group(INDEX["config"][1])


@command(app, examples=["stackctl config show", "stackctl config show --daemon --json"])
def show(
    ctx: typer.Context,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="What the daemon runs with, not what the files say.")
    ] = False,
) -> None:
    """Show every setting and where they come from."""
    now = here(ctx)
    reply = now.client.system.config() if daemon else configuration.read()
    now.output.show(reply, configuration.lines)


@command(app, examples=["stackctl config path", '${EDITOR:-vi} "$(stackctl config path)"'])
def path(ctx: typer.Context) -> None:
    """Print the path of the user's configuration file, whether it exists or not."""
    now = here(ctx)
    file = paths.config_dir() / "stackctl.toml"
    now.output.show({"path": str(file), "exists": file.exists()}, lambda r: [r["path"]])


@command(app, examples=["stackctl config check"])
def check(ctx: typer.Context) -> None:
    """Check the configuration without the daemon; a mistake ends with 78, file and line."""
    now = here(ctx)
    reply = configuration.read()
    now.output.show(
        {"ok": True, "sources": reply["sources"]},
        lambda r: [f"the configuration is right: {', '.join(r['sources'])}"],
    )


@command(app, examples=["stackctl config reload"])
def reload(ctx: typer.Context) -> None:
    """Let the daemon read the configuration again, all or nothing."""
    now = here(ctx)
    now.output.show(now.client.system.reload(), lambda r: [f"reloaded: {', '.join(r.sources)}"])
