"""The checkout as the architecture tests see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "stackctl": ROOT / "stackctl",
    "stackctl_daemon": ROOT / "daemon" / "stackctl_daemon",
    "stackctl_commands": ROOT / "commands" / "stackctl_commands",
}


def text_files() -> list[Path]:
    """Give the files that git knows or would add, without binary ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    found = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in found if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def python_files() -> list[Path]:
    """Give every Python module of the project, tests included."""
    return [path for path in text_files() if path.suffix == ".py"]
