"""The static index of commands says what the modules say."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from stackctl.cli.group import load
from stackctl_commands.index import INDEX

LONGEST_BODY = 15
WORDS = [
    "up",
    "down",
    "status",
    "index",
    "search",
    "collections",
    "models",
    "devices",
    "api",
    "analytics",
    "tui",
    "jobs",
    "insights",
    "logs",
    "doctor",
    "config",
    "completion",
    "demo",
]


def test_every_command_is_there() -> None:
    assert sorted(INDEX) == sorted(WORDS)


@pytest.mark.parametrize("name", INDEX)
def test_summary_is_that_of_the_module(name: str) -> None:
    module, summary = INDEX[name]

    assert import_module(module).app.info.help == summary
    assert load(INDEX, name).name == name


@pytest.mark.parametrize("name", INDEX)
def test_every_help_shows_an_example(name: str) -> None:
    command = load(INDEX, name)
    commands = list(getattr(command, "commands", {}).values()) or [command]

    assert all(f"$ stackctl {name}" in c.help for c in commands)


@pytest.mark.parametrize("name", INDEX)
def test_bodies_are_short(name: str) -> None:
    module = import_module(INDEX[name][0])
    for registered in module.app.registered_commands:
        lines = inspect.getsource(registered.callback).split('"""')[-1].strip().splitlines()

        assert len(lines) <= LONGEST_BODY, f"{name}: {len(lines)} lines"
