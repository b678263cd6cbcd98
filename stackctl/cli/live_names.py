"""``stackctl __complete KIND PREFIX``: names for a shell, one a line, in milliseconds.

Never starts the daemon, never prints an error, never imports Typer: a shell is waiting.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

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


def _names(kind: str) -> list[str]:
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
        return [getattr(item, field) for item in reply.items]
    except (StackctlError, OSError, AttributeError, ValueError):
        return []
