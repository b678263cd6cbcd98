"""The root command: global flags, then the lazy group over the index it is given."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stackctl import __version__
from stackctl.cli import output
from stackctl.cli.context import Here
from stackctl.cli.group import Index, LazyGroup, single

HELP = """Run a private AI stack on this machine: models, devices, search.

\b
Examples:
  $ stackctl demo
  $ stackctl index ~/notes
  $ stackctl search "how do I rotate keys"

The first command that needs the daemon starts it. --json, --plain, --quiet, --no-start,
--no-color, --verbose and --debug may also follow the command.
"""


def build(index: Index) -> Any:
    """Give the root command over ``index``."""

    class Root(LazyGroup):
        """The root group."""

    Root.index = index
    app = single("", cls=Root)
    app.callback(help=HELP)(root)
    return typer.main.get_command(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stackctl {__version__}")
        raise typer.Exit


def root(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print tab-separated lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print names alone.")] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Never start the daemon (STACKCTL_NO_START).")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (NO_COLOR).")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Say on stderr what the daemon is asked, and how long it takes.",
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Hold the global flags."""
    del version  # its callback has printed it
    chosen = [m for m, on in (("json", json), ("plain", plain), ("quiet", quiet)) if on]
    if len(chosen) > 1:
        raise typer.BadParameter(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    mode: Any = chosen[0] if chosen else "text"
    ctx.obj = Here(output.make(mode, no_color=no_color), no_start, verbose, debug)
