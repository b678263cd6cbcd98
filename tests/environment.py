"""The environment of child processes, and what they may."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache


def unmeasured() -> dict[str, str]:
    """Give this process's environment without coverage, which imports modules of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@cache
def others_run_python() -> bool:
    """Tell whether we may become another user who can run this interpreter.

    Root may, unless the interpreter lies in a folder of its own that nobody else may enter.
    """
    if os.getuid() != 0:
        return False
    try:
        subprocess.run([sys.executable, "-Sc", ""], user=54321, group=54321, extra_groups=[],
                       cwd="/", check=True, stderr=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
