"""Where things lie: XDG directories as functions; refuses to create anything.

``STACKCTL_HOME`` overrides all of them (tests, several stacks on a machine).
Read on every call, never at import, so that a test redirects all state by one variable. A home
that cannot be one is refused here, before anything fails on a path below it.
"""

from __future__ import annotations

import os
from pathlib import Path

from stackctl.errors import BadConfig, Denied


def _directory(kind: str, variable: str, fallback: str) -> Path:
    home = _home()
    if home:
        return home / kind
    base = os.environ.get(variable, "")
    # The XDG specification: a relative path is invalid and ignored.
    if base.startswith("/"):
        return Path(base) / "stackctl"
    return Path.home() / fallback / "stackctl"


def _home() -> Path | None:
    """Give ``STACKCTL_HOME``, None when it is not set.

    Raises:
        BadConfig: it is relative, or no folder.
        Denied: this user may not enter it.
    """
    home = os.environ.get("STACKCTL_HOME")
    if not home:
        return None
    _absolute("STACKCTL_HOME", home)
    if not os.path.lexists(home):
        return Path(home)
    if not os.path.isdir(home):  # noqa: PTH112 - a string is all that is needed on each call
        raise BadConfig(
            f"STACKCTL_HOME={home} is no folder, expected one or a path that is free",
            hint="unset STACKCTL_HOME",
        )
    if not os.access(home, os.X_OK):
        raise Denied(
            f"STACKCTL_HOME={home} may not be entered by user {os.getuid()}, expected a folder of"
            " this user's",
            hint="unset STACKCTL_HOME",
        )
    return Path(home)


def _absolute(variable: str, value: str) -> None:
    # Refused and not completed: the daemon leaves the folder that it is started in.
    if not value.startswith("/"):
        meant = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 - as text
        raise BadConfig(
            f"{variable}={value} is relative, expected an absolute path",
            hint=f"export {variable}={meant}",
        )


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
    home = _home()
    if home:
        return home / "run"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    # The uid in the name and the ownership check of client and daemon make /tmp safe here.
    within = base.startswith("/")
    return Path(base) / "stackctl" if within else Path(f"/tmp/stackctl-{os.getuid()}")  # noqa: S108


def socket_path() -> Path:
    """The daemon's control socket."""
    override = os.environ.get("STACKCTL_SOCKET")
    if not override:
        return runtime_dir() / "stackctld.sock"
    _absolute("STACKCTL_SOCKET", override)
    return Path(override)


def api_token() -> Path:
    """The token of the API's port, readable by its owner alone."""
    return state_dir() / "api-token"


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
        "stackctld.system.conf": "daemon/stackctld.system.conf",
    }
    return here.parent / inside.get(name, name)
