"""How Python is started: never with the modules of whatever folder the caller is in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from repository import PACKAGES, ROOT

SAFE = {"-P", "-I"}


def _commands(tree: ast.AST) -> Iterator[list[ast.expr]]:
    """Give every list, tuple and call that begins with ``sys.executable`` and goes on."""
    for node in ast.walk(tree):
        parts = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
        if len(parts) > 1 and ast.unparse(parts[0]) == "sys.executable":
            yield parts


def _unsafe(source: str, name: str) -> list[str]:
    return [
        f"{name}:{parts[0].lineno}"
        for parts in _commands(ast.parse(source))
        if not (isinstance(parts[1], ast.Constant) and parts[1].value in SAFE)
    ]


def _modules() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES.values():
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text()


def test_python_is_started_without_the_current_folder() -> None:
    started = sum(len(list(_commands(ast.parse(text)))) for _, text in _modules())

    assert started >= 4
    assert [found for name, text in _modules() for found in _unsafe(text, str(name))] == []


def test_a_start_that_takes_the_current_folder_is_seen() -> None:
    assert _unsafe('run([sys.executable, "-m", "x"])', "a") == ["a:1"]
    assert _unsafe('run(sys.executable, "-m", "x")', "a") == ["a:1"]
    assert _unsafe('run([sys.executable, "-P", "-m", "x"])', "a") == []
