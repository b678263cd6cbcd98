"""How much memory this process has, and giving it back; refuses to guess.

Proportional set size counts shared pages by share: replicas that map the same weights are not
counted as if each had them. Source: proc_pid_smaps(5), malloc_trim(3).
"""

from __future__ import annotations

import ctypes
from pathlib import Path


def pss_bytes(pid: int | str = "self") -> int:
    """Give a process's proportional set size; 0 where the kernel does not say."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def trim() -> None:
    """Give freed memory back to the kernel, where the C library can."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
