"""What the code offers, the reference has a heading for; generated files are current."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
from repository import ROOT

from stackctl.errors import BY_CODE
from stackctl.settings import Settings
from stackctl_commands.index import INDEX

REFERENCE = ROOT / "docs" / "reference"


def _headings(name: str) -> set[str]:
    lines = (REFERENCE / name).read_text().splitlines()
    return {line.lstrip("# ").strip("`") for line in lines if line.startswith("#")}


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_error_code_has_a_heading() -> None:
    assert set(BY_CODE) <= _headings("errors.md")


def test_every_setting_has_a_heading() -> None:
    settings = {
        f"{section.name}.{field.name}"
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    }

    assert settings <= _headings("config.md")


def test_every_route_has_a_heading() -> None:
    described = json.loads((ROOT / "daemon" / "openapi.json").read_text())
    routes = {
        f"{method.upper()} {path}"
        for path, methods in described["paths"].items()
        for method in methods
    }

    assert routes
    assert routes <= _headings("api.md")


def test_every_command_has_a_heading() -> None:
    assert {f"stackctl {name}" for name in INDEX} <= _headings("cli.md")
