"""``stackctl models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import views
from stackctl.cli.context import here
from stackctl.cli.files import absolute
from stackctl.cli.group import command, group
from stackctl.cli.progress import follow
from stackctl_commands.index import INDEX

app = group(INDEX["models"][1])

Name = Annotated[str, typer.Argument(help="Name of a model, such as all-minilm-l6-v2.")]


@command(app, "list", examples=["stackctl models list", "stackctl models list --json"])
def list_(ctx: typer.Context) -> None:
    """List the catalogue and what is on this disk."""
    now = here(ctx)
    models = now.client.models.list().items
    now.output.items(models, views.MODELS, empty="no models in the catalogue")


@command(app, examples=["stackctl models pull default", "stackctl models pull default --json"])
def pull(
    ctx: typer.Context,
    name: Name = "default",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
) -> None:
    """Fetch a model and check every byte of it."""
    now = here(ctx)
    job = now.client.models.pull(name)
    if not detach:
        job = follow(now, job)
    now.output.show(job, lambda j: views.job_lines(now.output, j), quiet=lambda j: [j.id])


@command(app, examples=["stackctl models verify all-minilm-l6-v2"])
def verify(ctx: typer.Context, name: Name) -> None:
    """Read every byte of a model again and compare it with the catalogue."""
    now = here(ctx)
    found = now.client.models.verify(name)
    now.output.show(found, views.verification_lines)
    if not found.ok:
        raise typer.Exit(3)


@command(app, examples=["stackctl models remove all-minilm-l6-v2"])
def remove(ctx: typer.Context, name: Name) -> None:
    """Delete a model's files from this disk."""
    now = here(ctx)
    now.client.models.remove(name)
    now.output.show({"removed": name}, lambda r: [f"removed {name}"])


@command(app, "import", examples=["stackctl models import my-model ./my-model --licence mit"])
def import_(
    ctx: typer.Context,
    name: Name,
    path: Annotated[Path, typer.Argument(help="Folder with model, tokenizer and config.")],
    licence: Annotated[str, typer.Option(help="Licence of the model.")] = "unknown",
) -> None:
    """Take a model from a folder of this machine."""
    now = here(ctx)
    model = now.client.models.take(name, absolute([str(path)])[0], licence=licence)
    now.output.show(model, lambda m: [f"imported {m.name} into {m.path}"])
