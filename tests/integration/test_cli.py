"""The command line against a real daemon that it starts itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Stack, clean_environment

COMMAND = [sys.executable, "-m", "stackctl"]


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """An empty home; whatever daemon was started in it is ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="sc", dir="/tmp") as folder:
        env = clean_environment() | {"STACKCTL_HOME": folder}
        yield env
        subprocess.run([*COMMAND, "down"], env=env, check=True, capture_output=True)


def _run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_first_command_starts_the_daemon_and_down_ends_it(home: dict[str, str]) -> None:
    first = _run(home, "status", "--json")
    assert first.returncode == 0, first.stderr
    pid = json.loads(first.stdout)["daemon"]["pid"]

    assert json.loads(_run(home, "up", "--json").stdout)["pid"] == pid
    down = _run(home, "down", "--json")

    assert json.loads(down.stdout) == {"stopped": True, "pid": pid}
    # Gone, or dead and not yet collected where the init of a container collects nothing.
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert _run(home, "down").stdout == "the daemon was not running\n"


def test_no_start_means_no_start(home: dict[str, str]) -> None:
    refused = _run(home, "devices", "--no-start")

    assert refused.returncode == 69
    assert refused.stderr.endswith("fix: stackctl up\n")
    assert not Path(home["STACKCTL_HOME"], "run", "stackctld.sock").exists()


def test_commands_that_start_it_at_once_share_one_daemon(home: dict[str, str]) -> None:
    running = [
        subprocess.Popen(
            [*COMMAND, "status", "--json"],
            env=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=120) for process in running]

    assert [process.returncode for process in running] == [0] * 4, answers
    assert len({json.loads(out)["daemon"]["pid"] for out, _ in answers}) == 1


def test_a_bad_configuration_ends_with_its_line(home: dict[str, str]) -> None:
    file = Path(home["STACKCTL_HOME"], "config", "stackctl.toml")
    file.parent.mkdir()
    file.write_text("[daemon]\nlog_levle = 'x'\n")

    refused = _run(home, "status")

    assert refused.returncode == 78, refused.stderr
    assert f"{file}:2" in refused.stderr
    file.unlink()


def test_doctor_finds_nothing_in_a_fresh_home(home: dict[str, str]) -> None:
    report = json.loads(_run(home, "doctor", "--json").stdout)

    machine = ("disk", "packages", "installer")
    about_home = [f for f in report["findings"] if f["check"] not in machine]
    assert about_home == []


def test_index_search_and_remove(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "keys.md").write_text("# Keys\n\nTo rotate a key, make a new one first.\n")
    (tmp_path / "cakes.md").write_text("# Cakes\n\nBake at 180 degrees for one hour.\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 broken")

    indexed = stack.cli("index", str(tmp_path), "--json")
    assert indexed.returncode == 0, indexed.stderr
    assert json.loads(indexed.stdout)["result"]["indexed"] == 2

    found = stack.cli("search", "how do I rotate keys", "--quiet")
    assert found.stdout.splitlines()[0].startswith(f"{tmp_path}/keys.md")
    assert stack.cli("__complete", "collections", "d").stdout == "default\n"
