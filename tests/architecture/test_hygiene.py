"""What a thin command imports, seen in a process of its own: a module set, not a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from control_server import ControlServer, script
from environment import unmeasured

HEAVY = {
    "asyncio",
    "duckdb",
    "http.client",
    "httpx",
    "msgspec",
    "numpy",
    "onnxruntime",
    "pydantic",
    "rich",
    "textual",
}
RUN = """
import json, sys
sys.argv[1:] = json.loads(sys.argv[1])
from stackctl.__main__ import main
status = 0
try:
    main()
except SystemExit as end:
    status = end.code
sys.stderr.write(json.dumps([status or 0, sorted(sys.modules)]))
"""


def _imported(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured(),
    )
    status, modules = json.loads(done.stderr)
    assert status == 0, done.stdout
    assert arguments[0] == "__complete" or done.stdout
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("search", "--help"),
        ("tui", "--help"),
        ("__complete", "commands", ""),
        ("__complete", "models", ""),
        ("status",),
        ("status", "--json"),
        ("search", "x"),
        ("jobs", "list"),
    ],
    ids=" ".join,
)
def test_thin_commands_import_nothing_heavy(own_home: Path, arguments: tuple[str, ...]) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        imported = _imported(*arguments)

    assert imported & HEAVY == set()


@pytest.mark.parametrize("arguments", [("--version",), ("__complete", "commands", "")])
def test_fast_paths_do_without_typer(arguments: tuple[str, ...]) -> None:
    assert not _imported(*arguments) & {"typer", "socket", "json", "pathlib"} - {"json"}


def test_a_command_imports_no_other_command(own_home: Path) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        imported = {name for name in _imported("status") if name.startswith("stackctl_commands.")}

    assert imported == {"stackctl_commands.index", "stackctl_commands.status"}
