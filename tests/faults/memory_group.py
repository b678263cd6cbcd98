"""A control group in which the kernel really kills for memory; refuses to pretend one.

Source: cgroups(7), cgroup v1 memory controller, cgroup v2 memory.max.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class MemoryGroup:
    """A group that processes are put into until they are let out."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root

    @classmethod
    def make(cls, limit_bytes: int) -> MemoryGroup | None:
        """Make one; None where this user or this machine cannot."""
        version_1 = (_V1 / "memory.limit_in_bytes").exists()
        root = _V1 if version_1 else _V2
        folder = root / f"stackctl-faults-{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            group = cls(folder, root)
            limit = "memory.limit_in_bytes" if version_1 else "memory.max"
            (folder / limit).write_text(str(limit_bytes))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            return None
        return group

    def take(self, pid: int) -> None:
        """Count what a process takes from now on."""
        with contextlib.suppress(OSError):  # it ended
            (self._folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Let out whoever survived, and remove the group."""
        for pid in (self._folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (self._root / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):  # the dead leave in their own time
            self._folder.rmdir()
