"""Where things lie: XDG directories as functions; refuses to create anything.

``STACKCTL_HOME`` overrides all of them (tests, several stacks on a machine).
Read on every call, never at import, so that a test redirects all state by one variable.
"""

from __future__ import annotations

import os
from pathlib import Path


def _directory(kind: str, variable: str, fallback: str) -> Path:
    home = os.environ.get("STACKCTL_HOME")
    if home:
        return Path(home) / kind
    base = os.environ.get(variable)
    return Path(base) / "stackctl" if base else Path.home() / fallback / "stackctl"


def config_dir() -> Path:
    """Directory of the user's ``stackctl.toml``."""
    return _directory("config", "XDG_CONFIG_HOME", ".config")


def data_dir() -> Path:
    """Directory of what cannot be made again: databases, event segments, imported models."""
    return _directory("data", "XDG_DATA_HOME", ".local/share")


def state_dir() -> Path:
    """Directory of logs and the lock."""
    return _directory("state", "XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """Directory of what can be fetched or derived again: fetched models, built graphs."""
    return _directory("cache", "XDG_CACHE_HOME", ".cache")


def runtime_dir() -> Path:
    """Directory of the socket, 0700; falls back to one under ``/tmp`` that names the uid."""
    home = os.environ.get("STACKCTL_HOME")
    if home:
        return Path(home) / "run"
    base = os.environ.get("XDG_RUNTIME_DIR")
    # The uid in the name and the ownership check of client and daemon make /tmp safe here.
    return Path(base) / "stackctl" if base else Path(f"/tmp/stackctl-{os.getuid()}")  # noqa: S108


def socket_path() -> Path:
    """The daemon's control socket."""
    override = os.environ.get("STACKCTL_SOCKET")
    return Path(override) if override else runtime_dir() / "stackctld.sock"


def bundled(name: str) -> Path:
    """A file or folder that ships with stackctl (``config``, ``guide``, ``completions``).

    In a wheel it lies under ``stackctl/_bundled``, in a checkout at the project's root.
    """
    here = Path(__file__).resolve().parent
    packed = here / "_bundled" / name
    if packed.exists():
        return packed
    inside = {
        "guide": "docs/guide",
        "completions": "commands/completions",
        "stackctld.service": "daemon/stackctld.service",
    }
    return here.parent / inside.get(name, name)
