"""Who may import whom; the contracts themselves stand in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from repository import PACKAGES, ROOT

# One adapter, or for onnxruntime the worker process's own modules, speaks to each library.
ONLY_IN = {
    "apsw": ["daemon/stackctl_daemon/sqlite.py"],
    "duckdb": ["daemon/stackctl_daemon/analytics/"],
    "onnxruntime": ["daemon/stackctl_daemon/inference/"],
    "sqlite_vec": ["daemon/stackctl_daemon/search/"],
    "pynvml": ["daemon/stackctl_daemon/devices/"],
    "uvloop": ["daemon/stackctl_daemon/process.py"],
    "httptools": ["daemon/stackctl_daemon/http/"],
    "huggingface_hub": ["daemon/stackctl_daemon/models/"],
    "av": ["daemon/stackctl_daemon/inference/adapters/compressed_audio.py"],
    "textual": ["stackctl/tui/"],
    "PIL": ["daemon/stackctl_daemon/inference/adapters/image.py"],
    "pypdfium2": ["daemon/stackctl_daemon/search/"],
    "opentelemetry": ["daemon/stackctl_daemon/analytics/otlp/decode.py"],
    "google": ["daemon/stackctl_daemon/analytics/otlp/decode.py"],
    "docx": ["daemon/stackctl_daemon/search/"],
}


def test_import_contracts_hold() -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_imported_by_its_adapter_alone(library: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES.values()
        for path in package.rglob("*.py")
        if library in _imported(path)
    }

    strays = {p for p in importers if not p.startswith(tuple(ONLY_IN[library]))}
    assert strays == set()


def test_bare_create_task_is_nowhere() -> None:
    owners = {"daemon/stackctl_daemon/tasks.py"}
    users = {
        str(path.relative_to(ROOT))
        for path in PACKAGES["stackctl_daemon"].rglob("*.py")
        if any(
            isinstance(node, ast.Attribute)
            and node.attr == "create_task"
            and isinstance(node.value, ast.Name)
            and node.value.id == "asyncio"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }

    assert users <= owners


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names
