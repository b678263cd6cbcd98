"""Memory of processes and of this machine, as the kernel counts it; refuses to guess.

Proportional set size counts shared pages by share: processes that map the same file are not
counted as if each had it. Source: proc_pid_smaps(5), proc_meminfo(5), cgroup v2 memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Room(NamedTuple):
    """Memory of a device."""

    used: int
    """By the worker where the device is the CPU, else by all that is on it."""
    free: int | None
    """What can still be had; None where nothing measures it."""
    own: int | None = None
    """By the worker's process alone; None where nothing measures it."""


def pss_bytes(pid: int | str = "self") -> int:
    """Give a process's proportional set size; 0 where the kernel does not say."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return _field(text, "Pss:")


def available_bytes() -> int:
    """Give what new programs can have without swapping, within our control group's limit."""
    try:
        free = _field(Path("/proc/meminfo").read_text(encoding="ascii"), "MemAvailable:")
    except OSError:
        return 0
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such limit: the file is missing or says "max"
        return free
    return max(0, min(free, limit - used))


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0
