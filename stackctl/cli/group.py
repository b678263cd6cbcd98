"""Typer apps that stay cheap: a lazy root group over a static index, and plain sub-groups.

Every app is made here, because one app without ``rich_markup_mode=None`` imports rich for its
help: 200 ms instead of 90.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])
Index = Mapping[str, tuple[str, str]]
"""Name of a command -> module that has its ``app``, one-line summary."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class PlainGroup(TyperGroup):
    """A group that prints its help, with status 0, when it is called with nothing."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # Typer's own Context is the vendored Click's
        """Parse, or show the help."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit
        return super().parse_args(ctx, args)


class LazyGroup(PlainGroup):
    """A group that imports a command's module only to run it.

    Help and did-you-mean read stubs made from ``index``; subclasses set it.
    """

    index: Index = {}

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # as above
        """Names, in the index's order."""
        return list(self.index)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # as above
        """Give a stub that knows the summary alone; None for an unknown name."""
        entry = self.index.get(cmd_name)
        return entry and TyperCommand(cmd_name, help=entry[1], rich_markup_mode=None)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]  # as above
        """Import the one command that runs."""
        if args[0] not in self.index:
            self.commands = {name: self.get_command(ctx, name) for name in self.index}
            return super().resolve_command(ctx, args)
        return args[0], load(self.index, args[0]), args[1:]


def load(index: Index, name: str) -> Any:
    """Import a command's module and give its command, named as in the index."""
    command = typer.main.get_command(import_module(index[name][0]).app)
    command.name = name
    return command


def group(summary: str, *, cls: type[TyperGroup] = PlainGroup) -> typer.Typer:
    """Make an app with sub-commands."""
    app = single(summary, cls=cls)
    # A callback keeps Typer from turning a group of one command into that command.
    app.callback()(_nothing)
    return app


def single(summary: str, *, cls: type[TyperGroup] = PlainGroup) -> typer.Typer:
    """Make an app that is one command."""
    return typer.Typer(
        cls=cls,
        help=summary,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )


def command(
    app: typer.Typer, name: str | None = None, *, examples: Sequence[str]
) -> Callable[[Function], Function]:
    """Register a function: its docstring is the help, followed by ``examples``."""

    def register(function: Function) -> Function:
        text = (function.__doc__ or "").strip()
        shown = "\n".join(f"  $ {example}" for example in examples)
        app.command(name, help=f"{text}\n\n\b\nExamples:\n{shown}", context_settings=SETTINGS)(
            function
        )
        return function

    return register


def _nothing() -> None:
    """Hold the group together."""
