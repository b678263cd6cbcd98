"""What ``stackctl demo`` indexes and says: real files that every installation has."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl import paths
from stackctl.cli.output import Output
from stackctl.cli.text import clean, duration
from stackctl.client.view import mapping

if TYPE_CHECKING:
    from stackctl.contracts.job import Job

QUERY = "how do I rotate log files when they get too big"
PACKAGES = ("logging.handlers", "json", "sqlite3", "sched", "queue", "glob", "fnmatch")
"""Standard library modules; with the guide 350 chunks: 19 s on two cores, 33 s on busy ones."""
MOST_FILES = 40


def files() -> list[str]:
    """Give the guide that ships with stackctl, and some of the running Python's own source."""
    guide = paths.bundled("guide")
    found = sorted(str(f) for f in guide.rglob("*.md")) if guide.is_dir() else []
    found += [str(file) for name in PACKAGES for file in _source(name)]
    return found[:MOST_FILES]


def report(output: Output, job: Job) -> None:
    """Say what was indexed, on stderr: stdout is for the hits."""
    result = mapping(job.result)
    output.note(
        f"{result.get('indexed', 0)} files indexed, {result.get('unchanged', 0)} unchanged, "
        f"{result.get('chunks', 0)} chunks, in {duration(result.get('elapsed_s'))}"
    )


def ask(output: Output, query: str) -> None:
    """Say what is asked, so that the hits can be judged."""
    output.note(f"asking: {clean(query)}\n")


def next_commands(output: Output) -> None:
    """Name what to try next."""
    output.note(
        "\nnext:\n"
        '  stackctl search "how do I read JSON from a file" --collection demo\n'
        "  stackctl index ~/notes\n"
        "  stackctl status"
    )


def _source(name: str) -> Iterator[Path]:
    """Give the source files of a module or of a package's top level."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    origin = Path(spec.origin)
    yield from sorted(origin.parent.glob("*.py")) if spec.submodule_search_locations else [origin]
