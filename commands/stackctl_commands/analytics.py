"""``stackctl analytics``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import asking, figures
from stackctl.cli.context import here
from stackctl.cli.group import command, group
from stackctl_commands.index import INDEX

app = group(INDEX["analytics"][1])

Kind = Annotated[str, typer.Option(help="Events of one kind, such as request or inference.")]
Measure = Annotated[
    list[str] | None,
    typer.Option("--measure", "-m", help="Such as count, errors, p95_s; again or by commas."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", "-w", help="Such as outcome=error, 'duration_s>0.5', name^=search."),
]
Window = Annotated[str, typer.Option(help="How far back, such as 15m, 1h or 7d.")]


@command(
    app,
    examples=[
        "stackctl analytics query --by name --window 1h",
        "stackctl analytics query --step 5m --measure count,p95_s --where outcome=error",
    ],
)
def query(
    ctx: typer.Context,
    *,
    measure: Measure = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", "-b", help="Such as name, model, uid; up to four.")
    ] = None,
    where: Where = None,
    kind: Kind = "",
    window: Window = "1h",
    step: Annotated[str, typer.Option(help="Length of a row's time, such as 1m.")] = "",
    order: Annotated[str, typer.Option(help="Column to sort by, as -count: largest first.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 100,
    others: Annotated[bool, typer.Option("--others", help="Sum up what the limit cuts.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the range before, too.")
    ] = False,
) -> None:
    """Count and measure events, by dimensions and in steps of time."""
    now = here(ctx)
    asked = asking.query(
        measure=measure or [], by=by or [], where=where or [], window=window, step=step,
        kind=kind, order_by=order, limit=limit, others=others, compare=compare,
    )  # fmt: skip
    figures.show(now.output, now.client.analytics.query(**asked))


@command(
    app, examples=["stackctl analytics sql 'SELECT name, count(*) FROM events GROUP BY name'"]
)
def sql(
    ctx: typer.Context,
    select: Annotated[str, typer.Argument(help="One SELECT over events, minutes and hours.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 100,
    timeout: Annotated[
        float, typer.Option(help="Seconds that it may take.", min=0.01, max=60)
    ] = 10.0,
) -> None:
    """Answer one SELECT; it can neither write nor read files."""
    now = here(ctx)
    found = now.client.analytics.sql(select, limit=limit, timeout_s=timeout)
    figures.show(now.output, found)


@command(app, examples=["stackctl analytics top name", "stackctl analytics top uid --window 1d"])
def top(
    ctx: typer.Context,
    dimension: Annotated[str, typer.Argument(help="Such as name, model, uid or error_code.")],
    *,
    measure: Measure = None,
    where: Where = None,
    kind: Kind = "",
    window: Window = "1h",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 10,
) -> None:
    """Show what has most of the first measure, and the sum of the rest."""
    now = here(ctx)
    asked = asking.top(
        dimension, measure=measure or [], where=where or [], window=window, kind=kind, limit=limit
    )
    figures.show(now.output, now.client.analytics.query(**asked))


@command(app, examples=["stackctl analytics tail", "stackctl analytics tail -f --kind job"])
def tail(
    ctx: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events.")] = False,
    kind: Kind = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1000, help="Events to begin with.")
    ] = 20,
) -> None:
    """Show the last events, oldest first."""
    now = here(ctx)
    figures.tail(now.output, now.client, lines, kind=kind, follow=follow)
