"""``stackctl completion``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from stackctl.cli import completion_files
from stackctl.cli.context import here
from stackctl.cli.group import command, single
from stackctl_commands.index import INDEX

app = single(INDEX["completion"][1])


@command(
    app, examples=["stackctl completion bash --install", "source <(stackctl completion bash)"]
)
def completion(
    ctx: typer.Context,
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Your shell.")],
    install: Annotated[
        bool, typer.Option("--install", help="Write it where the shell looks for it.")
    ] = False,
) -> None:
    """Print the completion script of a shell, or install it."""
    now = here(ctx)
    if install:
        done = completion_files.install(shell)
        now.output.show(done, lambda r: [f"installed {r['path']}", *r["notes"]])
        return
    now.output.write(completion_files.script(shell))
