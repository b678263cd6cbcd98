"""``stackctl models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import model_views, views
from stackctl.cli.context import here
from stackctl.cli.files import absolute
from stackctl.cli.group import command, group
from stackctl.cli.number import finite
from stackctl.cli.progress import follow
from stackctl.cli.text import size
from stackctl.errors import Invalid, NotFound
from stackctl_commands import models_run
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
    """Unload the model of this very name and delete its files from this disk."""
    now = here(ctx)
    gone = now.client.models.remove(name)
    now.output.show({"removed": gone.name}, lambda r: [f"removed {gone.name}"])


@command(app, "import", examples=["stackctl models import my-model ./my-model --licence mit"])
def import_(
    ctx: typer.Context,
    name: Name,
    path: Annotated[Path, typer.Argument(help="Folder with its graph or weights, or a tar.")],
    licence: Annotated[str, typer.Option(help="Licence of the model.")] = "unknown",
) -> None:
    """Take a model from a folder of this machine, or from a tar that export wrote."""
    now = here(ctx)
    model = now.client.models.take(name, absolute([str(path)])[0], licence=licence)
    now.output.show(model, lambda m: [f"imported {m.name} into {m.path}"])
    if model.aliases_taken:
        now.output.note(f"left out, as they mean something else: {', '.join(model.aliases_taken)}")


@command(
    app,
    examples=[
        "stackctl models export all-minilm-l6-v2 ./minilm.tar",
        "stackctl models export all-minilm-l6-v2 ./minilm",
    ],
)
def export(
    ctx: typer.Context,
    name: Name,
    path: Annotated[Path, typer.Argument(help="Folder to make, or file that ends in .tar.")],
) -> None:
    """Write a model with its entry to a folder or a tar that import takes elsewhere."""
    now = here(ctx)
    done = now.client.models.export(name, absolute([str(path)], exist=False)[0])
    now.output.show(done, lambda d: [f"exported {d.name} to {d.path}, {size(d.size_bytes)}"])


Device = Annotated[str, typer.Option(help="Id of a device, such as cpu:0.")]


@command(
    app,
    examples=[
        "stackctl models load default --pin",
        "stackctl models load default --ttl 600 --max-queued 64",
        "stackctl models load default --replicas 2",
        "stackctl models load default --latency-target 100",
    ],
)
def load(
    ctx: typer.Context,
    name: Name = "default",
    *,
    device: Device = "",
    pin: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Never evict it, or let it go again.")
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(callback=finite, help="Unload it after so many seconds without a request."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Batches that the device computes at once, 1 to 64.")
    ] = None,
    latency_target: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            callback=finite,
            help="Size batches so that 95 of 100 answers take no longer.",
        ),
    ] = None,
    max_queued: Annotated[
        int | None, typer.Option(help="Inputs of it that may wait; 0: no limit of its own.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(callback=finite, help="Seconds for a request that sets none; 0: none."),
    ] = None,
) -> None:
    """Load a model before it is asked for, or change how a loaded one is kept."""
    now = here(ctx)
    model = now.client.models.load(
        name,
        device=device,
        pinned=pin,
        ttl_s=ttl,
        replicas=replicas,
        latency_target_ms=latency_target,
        max_queued=max_queued,
        timeout_s=timeout,
    )
    now.output.show(model, lambda m: now.output.table([m], model_views.RUNNING))


@command(
    app,
    examples=["stackctl models unload default", "stackctl models unload default --device cpu:0"],
)
def unload(ctx: typer.Context, name: Name, device: Device = "") -> None:
    """Unload a model once the requests that use it have ended."""
    now = here(ctx)
    now.output.show(now.client.models.unload(name, device=device), model_views.unloaded_lines)


@command(app, examples=["stackctl models ps", "stackctl models ps --json"])
def ps(ctx: typer.Context) -> None:
    """List the models that devices hold, with what they and their workers take."""
    now = here(ctx)
    found = now.client.models.running()
    now.output.items(
        found.items,
        model_views.RUNNING,
        empty="no model is loaded",
        whole=found,
        below=model_views.worker_lines(now.output, found),
    )


@command(app, examples=["stackctl models why all-minilm-l6-v2"])
def why(ctx: typer.Context, name: Name = "default") -> None:
    """Say on which device a model is or would be, and why."""
    now = here(ctx)
    found = now.client.models.why(name)
    now.output.show(found, lambda f: model_views.placement_lines(now.output, f))


@command(
    app,
    examples=[
        "stackctl models alias",
        "stackctl models alias live all-minilm-l6-v2",
        "stackctl models alias live --remove",
    ],
)
def alias(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The alias; none: list them.")] = "",
    model: Annotated[str, typer.Argument(help="What it is to mean from now on.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Forget the alias.")] = False,
) -> None:
    """List aliases, or switch one to another model without a request that fails."""
    now = here(ctx)
    calls = now.client.models
    if remove and (model or not name):
        raise Invalid("--remove takes the alias alone", hint="stackctl models alias")
    if not model and not remove:
        found = [a for a in calls.aliases().items if name in ("", a.alias)]
        if name and not found:
            raise NotFound(f'no alias "{name}"', hint="stackctl models alias")
        now.output.items(found, model_views.ALIASES, empty="no aliases")
        return
    done = calls.drop_alias(name) if remove else calls.switch(name, model)
    now.output.show(done, lambda a: [f"{a.alias} means {a.model or 'nothing'}"])


@command(app, examples=["stackctl models tune all-minilm-l6-v2"])
def tune(
    ctx: typer.Context,
    name: Name = "default",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
) -> None:
    """Find the batch budget from which on a device gains nothing, and use it."""
    now = here(ctx)
    job = now.client.models.tune(name)
    if not detach:
        job = follow(now, job)
    now.output.show(job, lambda j: model_views.tuning_lines(now.output, j), quiet=lambda j: [j.id])


models_run.register(app)
