"""Ctrl-C at commands that wait, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A shell has what it starts in the background ignore SIGINT, and so have its children.
HEARING = ["env", "--default-signal=INT"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_following_the_log_ends_without_a_word(tmp_path: Path, options: tuple[str, ...]) -> None:
    log = tmp_path / "state" / "stackctld.log"
    log.parent.mkdir()
    log.write_text('{"time": "t", "level": "INFO", "message": "ready"}\n')
    process = subprocess.Popen(
        [*HEARING, sys.executable, "-m", "stackctl", "logs", "--follow", *options],
        env=os.environ | {"STACKCTL_HOME": str(tmp_path), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()  # it follows by now
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=20)

    assert "ready" in first
    assert (process.returncode, rest, err) == (130, "", "")
