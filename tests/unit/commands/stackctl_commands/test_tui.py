"""``stackctl tui`` as it is called: status, stdout and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dashboard import served


def tui(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stackctl", "tui", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_once_prints_the_screen_as_plain_text(own_home: Path) -> None:
    with served(own_home):
        done = tui("--once", "devices", "--width", "72", "--height", "20")

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "cpu:0" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, lines)) == 72
    assert len(lines) == 20


def test_once_without_a_daemon_ends_with_69_and_the_fix() -> None:
    done = tui("--once", "overview")

    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.endswith("fix: stackctl up\n")


def test_without_a_terminal_it_names_the_screen_that_can_be_printed() -> None:
    done = tui("--screen", "jobs")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("fix: stackctl tui --once jobs\n")


def test_an_unknown_screen_is_a_wrong_use() -> None:
    done = tui("--once", "nothing")

    assert done.returncode == 2
    assert 'no screen "nothing", expected one of: overview, devices' in done.stderr
