"""Runs a model for the command line: finds it, asks it, prints what it gave.

Refuses to know how results look, which `model_lines` does, and how inputs are read.
"""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer

from stackctl.cli import model_lines, model_results
from stackctl.cli.context import Here
from stackctl.cli.model_inputs import Given, example, tensor_example
from stackctl.cli.progress import follow
from stackctl.cli.text import clean, size
from stackctl.client.view import encode
from stackctl.errors import Invalid, ModelCorrupt, NotFound

if TYPE_CHECKING:
    from stackctl.contracts.inference import RunReply
    from stackctl.contracts.model import Model

STREAMS = frozenset(("generation", "transcription"))
"""Tasks whose answers come in pieces."""


@dataclass(frozen=True)
class Question:
    """What a model is asked."""

    model: str
    task: str
    inputs: Sequence[Given]
    options: Mapping[str, Any]
    timeout_s: float = 600.0


def find(here: Here, name: str, *, pull: bool = False) -> Model:
    """Give a model that is on this disk, fetching it where the user wants that.

    Raises:
        NotFound: there is no such model, or it is not here.
        ModelCorrupt: its files are damaged.
    """
    try:
        found = here.client.models.show(name)
    except NotFound as err:
        names = [n for m in here.client.models.list().items for n in (m.name, *m.aliases)]
        close = get_close_matches(name, names, n=1)
        meant = f'; did you mean "{close[0]}"?' if close else ""
        raise NotFound(f"{err.message}{meant}", hint=err.hint) from err
    if found.state == "present":
        return found
    fix = f"stackctl models pull {found.name}"
    if not pull and not _agrees(here, found):
        if found.state == "corrupt":
            raise ModelCorrupt(f'the files of model "{found.name}" are damaged', hint=fix)
        raise NotFound(f'model "{found.name}" is not on this disk', hint=fix)
    here.output.note(f"fetching the model {found.name}, once")
    follow(here, here.client.models.pull(found.name))
    return found


def ask(here: Here, question: Question, *, stream: bool, output_file: str) -> None:
    """Ask a model and print what it gives.

    Raises:
        StackctlError: what the daemon answers.
    """
    try:
        if stream:
            for given in question.inputs:
                _stream(here, question, given)
            return
        reply = here.client.models.run(
            question.model,
            [given.wire for given in question.inputs],
            options=dict(question.options),
            timeout_s=question.timeout_s,
        )
    except Invalid as err:
        raise _named(err, question, here) from err
    show(here, reply, question, output_file=output_file)


def show(here: Here, reply: RunReply, question: Question, *, output_file: str) -> None:
    """Print a reply in the output's mode, and write it where a file is named."""
    output, task = here.output, question.task
    found = model_results.answers(reply, [given.label for given in question.inputs])
    written = model_results.save(output_file, reply, found) if output_file else ""
    if output.mode == "plain":
        output.write(
            "".join(
                "\t".join(clean(_word(cell)) for cell in row) + "\n"
                for row in model_results.rows(task, found)
            )
        )
        return
    output.show(
        model_results.as_json(reply, found) if output.mode == "json" else reply,
        lambda _: model_lines.lines(output, task, found),
        quiet=lambda _: map(model_lines.running, model_results.bare(task, found)),
    )
    _note(here, model_lines.footer(reply, len(found)))
    if written:
        _note(here, written)


def streams(
    here: Here, task: str, *, wanted: bool | None, output_file: str, model: str = ""
) -> bool:
    """Tell whether an answer is to be printed piece by piece.

    Raises:
        Invalid: that is asked of a model or an output that cannot.
    """
    if wanted and task not in STREAMS:
        raise Invalid(
            f'model "{model}" does {task} and gives its answer whole, without --stream',
            hint=example(task, model),
        )
    if wanted and (output_file or here.output.mode in ("plain", "quiet")):
        raise Invalid(
            "--stream goes with text and --json alone, and not with --output",
            hint=f"{example(task, model)} --stream",
        )
    if wanted is not None:
        return wanted
    terminal = here.output.width is not None
    return terminal and here.output.mode == "text" and task in STREAMS and not output_file


def _stream(here: Here, question: Question, given: Given) -> None:
    """Print one answer as it comes about."""
    output = here.output
    if len(question.inputs) > 1 and output.mode == "text":
        output.write(f"{output.style(clean(given.label), 'cyan')}\n")
    parts = here.client.models.stream(
        question.model, given.wire, options=dict(question.options), timeout_s=question.timeout_s
    )
    ended = True
    try:
        for part in parts:
            if output.mode == "json":
                output.write(encode({k: v for k, v in vars(part).items() if v is not None}) + "\n")
            elif part.reply is not None:
                output.write("" if ended else "\n")
                ended = True
                _note(here, model_lines.footer(part.reply, 1))
            elif question.task == "transcription":
                lines = model_lines.segment_lines(output, part.value.segments)
                output.write("".join(f"{line}\n" for line in lines))
            elif part.value.text:
                text = model_lines.running(part.value.text)
                ended = text.endswith("\n")
                output.write(text)
    finally:
        output.write("" if ended else "\n")  # an error begins a line of its own


def _named(err: Invalid, question: Question, here: Here) -> Invalid:
    """Word a refusal as it reads here: the daemon knows inputs by their numbers alone."""
    message, hint = err.message, err.hint or example(question.task, question.model)
    if question.task == "tensor" and not err.hint:
        hint = tensor_example(question.model, here.client.models.graph_inputs(question.model))
    number = re.search(r"\binput (\d+)\b", message)
    which = int(number[1]) if number else 0
    if "data" in question.inputs[which].wire:
        path = question.inputs[which].label
        message = re.sub(r"\binput \d+\b", lambda _: f'"{path}"', message, count=1)
        hint = re.sub(r"\b(FILE|INPUT)$|\bINPUT\b", lambda _: shlex.quote(path), hint)
    return Invalid(message, hint=hint)


def _note(here: Here, text: str) -> None:
    """Say something beside the answer, as quietly as the terminal can."""
    output = here.output
    terminal = output.err.isatty()
    # Broken where its parts end, which a terminal does not know.
    lines = textwrap.wrap(text, output.width or 80) if terminal else [text]
    output.note("\n".join(output.style(line, "dim") if terminal else line for line in lines))


def _agrees(here: Here, model: Model) -> bool:
    """Ask whether a model is to be fetched, where somebody sits there."""
    if here.output.mode != "text" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    what = "is not on this disk" if model.state == "absent" else "is damaged"
    question = f"{model.name} {what}. Fetch {size(model.size_bytes)}?"
    return bool(typer.confirm(question, default=True, err=True))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
