"""Giving memory back to the kernel, and how much there is; refuses to guess.

What loading a model took comes back when the model is dropped and the C library is told to
trim; what a library took at its first use only when the process ends. Source: malloc_trim(3).
"""

from __future__ import annotations

import ctypes

from stackctl.contracts.device import Device
from stackctl_daemon.inference.ports import Room
from stackctl_daemon.proc import available_bytes, pss_bytes

__all__ = ["HostMeter", "few_heaps", "pss_bytes", "trim"]

_M_ARENA_MAX = -8


class HostMeter:
    """Memory of CPU devices without a limit; of others nothing is known."""

    def room(self, device: Device, pid: int | None) -> Room:
        """Measure; see `ports.Meter`."""
        if device.kind != "cpu":
            return Room(used=0, free=None)
        used = pss_bytes(pid) if pid else 0
        return Room(used=used, free=available_bytes(), own=used)


def few_heaps() -> None:
    """Have threads share the C library's heaps: each keeps the pages of what was freed in it.

    Source: mallopt(3), ``M_ARENA_MAX``.
    """
    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit is not None:
        limit(_M_ARENA_MAX, 2)


def trim() -> None:
    """Give freed memory back to the kernel, where the C library can."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
