"""What the guide tells a reader to type works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from harness import Stack
from tiny_model import WIDTH, write_graph, write_tokenizer

from stackctl.settings import Settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"


def _blocks(page: str, language: str) -> list[str]:
    text = (GUIDE / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_every_command_of_the_tutorial_runs(stack: Stack, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "keys.md").write_text(
        "# Keys\n\n## Rotation\n\nTo rotate keys, make a new one, deploy it, revoke the old.\n"
    )
    search_path = f"{Path(sys.executable).parent}:{stack.env['PATH']}"
    env = stack.env | {"HOME": str(tmp_path), "PATH": search_path}
    # The first block installs; what runs here is installed.
    lines = [line for block in _blocks("tutorial.md", "sh")[1:] for line in block.splitlines()]

    assert len(lines) > 8
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if "search" in line and "pdf" not in line:
            assert "keys.md" in done.stdout, line


def test_the_guides_versions_begin_with_nothing(bare_stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    write_tokenizer(folder)
    write_graph(folder, pooled=True)
    entry = f'adapter = "text-embedding"\ndimensions = {WIDTH}\nmax_tokens = 8\n'
    (folder / "entry.toml").write_text(entry)
    [block] = [b for b in _blocks("models.md", "sh") if "import safety:1" in b]

    for line in block.splitlines():
        # The model is one of texts here, and reads the file's name.
        _, *words = line.replace("./my-model", str(folder)).split()
        done = bare_stack.cli(*words)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_every_program_of_the_telemetry_page_runs() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the test extra has it")
    with Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        told = {
            "STACKCTL_URL": stack.ok("GET", "/v1/status")["api_url"],
            "STACKCTL_TOKEN": json.loads(stack.cli("api", "token", "--json").stdout)["token"],
        }
        blocks = _blocks("telemetry.md", "python")
        for block in blocks:
            done = subprocess.run(
                [sys.executable, "-c", block],
                env=stack.env | told,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), block
        summary = stack.ok("GET", "/v1/analytics/summary?window_s=600")

    rows = {(row["kind"], row["name"]): row["count"] for row in summary["rows"]}
    assert len(blocks) == 3
    assert rows["user", "order.placed"] == 2
    assert rows["user", "report"] == 1
    assert rows["span", "chat"] == 1


def test_every_command_of_the_guide_to_analytics_runs(bare_stack: Stack) -> None:
    lines = [line for block in _blocks("analytics.md", "sh") for line in block.splitlines()]

    assert len(lines) > 8
    for line in lines:
        done = bare_stack.cli(*shlex.split(line)[1:])
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", sorted(path.name for path in GUIDE.glob("*.md")))
def test_every_setting_in_the_guide_exists(page: str) -> None:
    for block in _blocks(page, "toml"):
        msgspec.convert(tomllib.loads(block), Settings)  # raises where one does not


@pytest.mark.parametrize("page", sorted(path.name for path in GUIDE.glob("*.md")))
def test_every_command_in_the_guide_exists(page: str) -> None:
    commands = {
        match[1]
        for block in _blocks(page, "sh")
        for match in re.finditer(r"^stackctl (\w+)", block, re.M)
    }

    for name in commands:
        done = subprocess.run(
            [sys.executable, "-m", "stackctl", name, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, name
