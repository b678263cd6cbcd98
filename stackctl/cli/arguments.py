"""Global flags wherever they stand; refuses to know any command."""

from __future__ import annotations

from collections.abc import Sequence

MOVABLE = frozenset(
    ("--json", "--plain", "--quiet", "--no-start", "--no-color", "-v", "--verbose", "--debug")
)
"""Flags that mean the same before and after a command's name, and take no value."""


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move global flags to the front: ``status --json`` is ``--json status``.

    What follows ``--`` stays as it is: there ``--json`` may be a search's words.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours = [a for a in arguments[:end] if a in MOVABLE]
    return [*ours, *(a for a in arguments[:end] if a not in MOVABLE), *arguments[end:]]
