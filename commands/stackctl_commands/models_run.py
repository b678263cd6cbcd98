"""``stackctl models run`` and ``stackctl models bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import model_bench, model_inputs, model_results, model_run
from stackctl.cli.context import here
from stackctl.cli.group import command
from stackctl.cli.number import finite
from stackctl.errors import Invalid

Name = Annotated[str, typer.Argument(help="Name of a model, such as all-minilm-l6-v2.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="One of the model's own.", metavar="KEY=VALUE"),
]
Query = Annotated[str, typer.Option(help="What documents are ranked for.")]
Pull = Annotated[bool, typer.Option("--pull", help="Fetch the model first if it is not here.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    command(
        app,
        "run",
        examples=[
            "stackctl models run default 'a cat sat on the mat' 'a feline on a rug'",
            "stackctl models run ocr scan.png",
            "git log --oneline | stackctl models run minilm-rerank --query 'speed' -",
        ],
    )(run)
    command(
        app,
        "bench",
        examples=[
            "stackctl models bench default --concurrency 1,16 --seconds 3",
            "stackctl models bench default --rate 50 --json",
            "stackctl models bench ocr --input scan.png --concurrency 2",
        ],
    )(bench)


def run(
    ctx: typer.Context,
    name: Name,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, files (@FILE for a model that reads text) or - for stdin.",
            metavar="[INPUT]...",
        ),
    ] = None,
    *,
    option: Options = None,
    query: Query = "",
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Print text as it comes about, or at the end."),
    ] = None,
    output: Annotated[
        str, typer.Option(help="Write vectors or results there too.", metavar="FILE.npy|.json")
    ] = "",
    timeout: Annotated[
        float,
        typer.Option(min=0.001, max=3600, callback=finite, help="Seconds to wait for the answer."),
    ] = 600.0,
    pull: Pull = False,
) -> None:
    """Run a model on texts, pictures, sounds, files or tensors."""
    now = here(ctx)
    model_results.check_output(output, name)
    model = model_run.find(now, name, pull=pull)
    streamed = model_run.streams(now, model.task, wanted=stream, output_file=output, model=name)
    options = asked(option, query, task=model.task, model=name)
    given = model_inputs.read_inputs(
        inputs or [],
        task=model.task,
        model=name,
        graph=lambda: now.client.models.graph_inputs(name),
    )
    question = model_run.Question(name, model.task, given, options, timeout)
    model_run.ask(now, question, stream=streamed, output_file=output)


def bench(
    ctx: typer.Context,
    name: Name,
    *,
    concurrency: Annotated[
        str, typer.Option(help="Callers at once; several numbers are measured in turn.")
    ] = "1,16",
    seconds: Annotated[
        float, typer.Option(min=0.1, max=120, callback=finite, help="Length of each.")
    ] = 5.0,
    rate: Annotated[
        float,
        typer.Option(
            min=0, max=100_000, callback=finite, help="Requests per second; 0: as many as go."
        ),
    ] = 0.0,
    batch: Annotated[int, typer.Option(min=1, max=2048, help="Inputs of one request.")] = 1,
    input: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="What to ask with, as for run.")
    ] = None,
    option: Options = None,
    query: Query = "",
    pull: Pull = False,
) -> None:
    """Measure a model through the daemon: rate, latency, where the time goes."""
    now = here(ctx)
    callers = model_bench.read_callers(concurrency)
    model = model_run.find(now, name, pull=pull)
    if model.task == "rerank":
        query = query or model_bench.TEXTS[-1]
    options = asked(option, query, task=model.task, model=name)
    given = model_bench.choose_inputs(
        input or [],
        task=model.task,
        model=name,
        graph=lambda: now.client.models.graph_inputs(name),
    )
    loads = [model_bench.Load(count, seconds, rate, batch) for count in callers]
    model_bench.show(now, model.name, given, loads, options)


def asked(option: list[str] | None, query: str, *, task: str, model: str) -> dict[str, object]:
    """Give a request's options.

    Raises:
        Invalid: one is no key=value, or a query is missing or has no use.
    """
    options = model_inputs.read_options(option or [])
    if query:
        options["query"] = query
    if task == "rerank" and not options.get("query"):
        raise Invalid(
            f'model "{model}" ranks documents for a query, and has none',
            hint=model_inputs.example(task, model),
        )
    if query and task != "rerank":
        raise Invalid(
            f'model "{model}" does {task}, which takes no --query',
            hint=model_inputs.example(task, model),
        )
    return options
