"""Writes the completion scripts from the Typer tree; refuses to run in a shell's way.

Commands, flags and choices are data in the scripts; only the names of models, collections, jobs
and devices ask ``stackctl __complete``. ``python -m stackctl.cli.completion FOLDER`` writes all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from stackctl.cli.completion_files import NAMES
from stackctl.cli.completion_scripts import bash, fish, zsh
from stackctl.cli.group import Index, load
from stackctl.cli.root import build

LIVE_OPTIONS = {"--collection": "collections"}
LIVE_ARGUMENTS = {"collections": "collections", "models": "models", "jobs": "jobs"}
"""Group -> kind of its commands' first argument."""
OWN_ARGUMENTS = {"import"}
"""Commands of those groups that make a new name."""


@dataclass(frozen=True)
class Flag:
    """An option as a shell needs it."""

    names: tuple[str, ...]
    help: str
    values: str
    """``none``, ``any``, ``choice:a b``, or ``live:KIND``."""


@dataclass(frozen=True)
class Node:
    """One command: its words, help, flags, sub-commands and what its arguments are."""

    words: tuple[str, ...]
    help: str
    flags: tuple[Flag, ...]
    children: tuple[tuple[str, str], ...]
    argument: str
    """``none``, ``file``, ``any``, ``choice:a b``, or ``live:KIND``."""


def tree(index: Index) -> list[Node]:
    """Give every command below the root, the root first."""
    root = build(index)
    names = tuple((name, entry[1]) for name, entry in index.items())
    nodes = [Node((), "", _flags(root), names, "none")]
    for name in index:
        nodes += _nodes((name,), load(index, name))
    return nodes


def scripts(index: Index) -> dict[str, str]:
    """Give each shell's script by its file's name."""
    nodes = tree(index)
    return {
        NAMES["bash"]: bash(nodes),
        NAMES["zsh"]: zsh(nodes),
        NAMES["fish"]: fish(nodes),
    }


def _nodes(words: tuple[str, ...], command: Any) -> Iterator[Node]:
    subcommands = getattr(command, "commands", {})
    children = tuple((name, _summary(sub)) for name, sub in subcommands.items())
    yield Node(words, _summary(command), _flags(command), children, _argument(words, command))
    for name, sub in subcommands.items():
        yield from _nodes((*words, name), sub)


def _flags(command: Any) -> tuple[Flag, ...]:
    found = []
    for option in command.params:
        if option.param_type_name != "option":
            continue
        names = (*option.opts, *option.secondary_opts)
        takes_none = option.is_flag or option.count
        values = "none" if takes_none else _values(option)
        for name in names:
            if name in LIVE_OPTIONS:
                values = f"live:{LIVE_OPTIONS[name]}"
        found.append(Flag(names, option.help or "", values))
    return (*found, Flag(("--help", "-h"), "Show the help.", "none"))


def _values(parameter: Any) -> str:
    choices = [str(c) for c in getattr(parameter.type, "choices", ()) if str(c)]
    return f"choice:{' '.join(choices)}" if choices else "any"


def _argument(words: tuple[str, ...], command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if not arguments:
        return "none"
    if words[0] in LIVE_ARGUMENTS and words[-1] not in OWN_ARGUMENTS:
        return f"live:{LIVE_ARGUMENTS[words[0]]}"
    if any(p.name in ("path", "paths") for p in arguments):
        return "file"
    return _values(arguments[0])


def _summary(command: Any) -> str:
    text: str = command.get_short_help_str(100)
    return text


def main() -> None:
    """Write the scripts into a folder."""
    index: Index = import_module("stackctl_commands.index").INDEX
    folder = Path(sys.argv[1])
    for name, text in scripts(index).items():
        (folder / name).write_text(text, encoding="utf-8")
        typer.echo(folder / name)


if __name__ == "__main__":
    main()
