"""``stackctl __complete KIND PREFIX``: names for a shell, one a line, in milliseconds.

Never starts the daemon, never prints an error, never imports Typer: a shell is waiting.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

TIMEOUT_S = 0.15
ROUTES = {
    "models": ("/v1/models", "name"),
    "collections": ("/v1/collections", "name"),
    "jobs": ("/v1/jobs", "id"),
    "devices": ("/v1/devices", "id"),
}
"""Kinds whose names the daemon knows: route and field."""


def complete(arguments: Sequence[str]) -> None:
    """Print the names of a kind that begin with a prefix; nothing when they cannot be had."""
    kind, prefix = [*arguments, "", ""][:2]
    names = sorted(n for n in _names(kind) if n.startswith(prefix))
    sys.stdout.writelines(f"{name}\n" for name in names if name.isprintable())


def _names(kind: str) -> Iterable[str]:
    if kind == "commands":
        # By name: this layer lies below the commands, and the index is data.
        from importlib import import_module

        return list(import_module("stackctl_commands.index").INDEX)
    if kind not in ROUTES:
        return []
    # Deferred: `commands` needs no socket.
    from stackctl.client.transport import Transport
    from stackctl.errors import StackctlError

    path, field = ROUTES[kind]
    try:
        reply = Transport(timeout_s=TIMEOUT_S).request("GET", path)
        return {name for item in reply.items for name in _names_of(item, field)}
    except (StackctlError, OSError, AttributeError, ValueError):
        return []


def _names_of(item: Any, field: str) -> set[str]:
    """Give what a thing may be called: a model also by its aliases and its versions' name."""
    name: str = getattr(item, field)
    aliases: list[str] | None = getattr(item, "aliases", None)
    return {name} if aliases is None else {name, name.partition(":")[0], *aliases}
