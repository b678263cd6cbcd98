"""The shipped completion scripts: prints one, or puts it where a shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stackctl import paths

NAMES = {"bash": "stackctl.bash", "zsh": "_stackctl", "fish": "stackctl.fish"}


def script(shell: str) -> str:
    """Give the text of a shell's script."""
    return (paths.bundled("completions") / NAMES[shell]).read_text(encoding="utf-8")


def install(shell: str) -> dict[str, Any]:
    """Write the script to the user's own folder of the shell, all or nothing.

    Returns:
        ``{"path", "notes"}``; a note says what the user's start-up file still needs.
    """
    target = _target(shell)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    part.write_text(script(shell), encoding="utf-8")
    part.replace(target)
    notes = []
    if shell == "bash":
        notes.append("bash loads it in a new shell when the package bash-completion is installed")
    if shell == "zsh":
        notes.append(f"~/.zshrc needs, before compinit: fpath=({target.parent} $fpath)")
    return {"path": str(target), "notes": notes}


def _target(shell: str) -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folders = {
        "bash": data / "bash-completion/completions/stackctl",
        "zsh": data / "zsh/site-functions/_stackctl",
        "fish": config / "fish/completions/stackctl.fish",
    }
    return folders[shell]
