"""Which devices this machine has; refuses to start anything on them."""

from __future__ import annotations

import os
from pathlib import Path

from stackctl.contracts.device import Device
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.nvml import list_gpus


def inventory(settings: DeviceSettings) -> tuple[list[Device], list[str]]:
    """Give the devices, and what kept others from being used, in words.

    A CPU device is a set of cores; without settings, one with every core allowed to us.
    """
    devices: list[Device] = []
    problems: list[str] = []
    if settings.gpus != "off":
        devices, problems = list_gpus(settings.nvml_library)
    allowed = sorted(os.sched_getaffinity(0))
    total = _memory_bytes()
    taken: set[int] = set()
    for number, wanted in enumerate(settings.cpu_sets or [allowed]):
        cores = sorted(set(wanted) & set(allowed))
        missing = sorted(set(wanted) - set(allowed))
        if missing:
            problems.append(f"cpu:{number}: cores {missing} are not allowed to this process")
        shared = sorted(taken & set(cores))
        if shared:
            problems.append(f"cpu:{number}: cores {shared} belong to another device too")
        if not cores:
            continue
        taken |= set(cores)
        devices.append(
            Device(
                id=f"cpu:{number}",
                kind="cpu",
                name=_processor_name(),
                cores=cores,
                memory_total_bytes=total,
            )
        )
    return devices, problems


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "CPU"
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else "CPU"
