"""``stackctl insights``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from stackctl.cli import insight_views as views
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl_commands.index import INDEX

app = group(INDEX["insights"][1])


class State(StrEnum):
    """Which insights to list."""

    OPEN = "open"
    RESOLVED = "resolved"
    MUTED = "muted"
    ALL = "all"


Id = Annotated[str, typer.Argument(help="Id of an insight, or its beginning.", metavar="INSIGHT")]


@command(
    app, "list", examples=["stackctl insights list", "stackctl insights list --state all --json"]
)
def list_(
    ctx: typer.Context,
    state: Annotated[State, typer.Option(help="Which of them.")] = State.OPEN,
) -> None:
    """List what changed and matters, the most important first."""
    now = here(ctx)
    found = now.client.insights.list(state.value)
    now.output.items(
        found.items,
        views.INSIGHTS,
        empty=views.nothing(found, state.value),
        whole=found,
        below=views.foot(found),
    )


@command(app, examples=["stackctl insights show INSIGHT"])
def show(ctx: typer.Context, insight: Id) -> None:
    """Show one insight: figures, why, evidence, and what to do."""
    now = here(ctx)
    found = now.client.insights.show(insight)
    now.output.show(found, lambda i: views.insight_lines(now.output, i))


@command(app, examples=["stackctl insights mute INSIGHT --reason 'planned test'"])
def mute(
    ctx: typer.Context,
    insight: Id,
    reason: Annotated[str, typer.Option(help="Why; others will read it.")],
    for_hours: Annotated[
        float, typer.Option("--for", min=0.02, max=8760, help="Hours until it speaks again.")
    ] = 24.0,
) -> None:
    """Say no more of an insight, nor of its like, for a while."""
    now = here(ctx)
    muted = now.client.insights.mute(insight, reason, for_s=for_hours * 3600)
    now.output.show(muted, views.muted_lines)


@command(app, examples=["stackctl insights unmute INSIGHT"])
def unmute(ctx: typer.Context, insight: Id) -> None:
    """Speak of an insight again."""
    now = here(ctx)
    found = now.client.insights.unmute(insight)
    now.output.show(found, lambda i: [f"{i.id} is {i.state}"])
