"""The environment of child processes whose own behaviour is measured."""

from __future__ import annotations

import os


def unmeasured() -> dict[str, str]:
    """Give this process's environment without coverage, which imports modules of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
