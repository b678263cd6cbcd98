"""Every command: name -> module that holds its ``app``, one-line summary.

Help and completion read this alone; a test compares each summary with its module's.
"""

from __future__ import annotations

INDEX: dict[str, tuple[str, str]] = {
    "up": ("stackctl_commands.up", "Start the daemon"),
    "down": ("stackctl_commands.down", "Stop the daemon and wait until it is gone"),
    "status": ("stackctl_commands.status", "Show daemon, devices, collections, jobs and figures"),
    "demo": ("stackctl_commands.demo", "Index real files of this machine and ask them a question"),
    "index": ("stackctl_commands.index_files", "Index files and folders into a collection"),
    "search": ("stackctl_commands.search", "Ask a collection; hits are ranked and cited"),
    "collections": ("stackctl_commands.collections", "List and remove collections"),
    "models": ("stackctl_commands.models", "Pull, load, place, tune, list and remove models"),
    "devices": ("stackctl_commands.devices", "List devices and what runs on them"),
    "api": ("stackctl_commands.api", "Show how other programs reach the models"),
    "analytics": ("stackctl_commands.analytics", "Ask about events: figures, SQL, a live tail"),
    "tui": ("stackctl_commands.tui", "Open the dashboard: what changed, why, and what to do"),
    "jobs": ("stackctl_commands.jobs", "List, show, watch and cancel jobs"),
    "insights": ("stackctl_commands.insights", "Show what changed, why, and what to do about it"),
    "logs": ("stackctl_commands.logs", "Show the daemon's log"),
    "doctor": ("stackctl_commands.doctor", "Look for problems and say how to mend them"),
    "config": ("stackctl_commands.config", "Show, check and reload the configuration"),
    "completion": ("stackctl_commands.completion", "Print or install shell completion"),
}
