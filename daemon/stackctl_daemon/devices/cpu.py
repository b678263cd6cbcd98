"""Sets of CPU cores; refuses to know of processes but by their memory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from stackctl.contracts.device import Device
from stackctl.settings import DeviceSettings
from stackctl_daemon.proc import Room, available_bytes, pss_bytes


class CpuBackend:
    """The sets that the settings name; without, one with every core allowed to us."""

    def __init__(self, settings: DeviceSettings) -> None:
        self._settings = settings

    def list(self) -> tuple[list[Device], list[str]]:
        """Give the sets; see `DeviceBackend.list`."""
        devices: list[Device] = []
        problems: list[str] = []
        allowed = sorted(os.sched_getaffinity(0))
        taken: set[int] = set()
        for number, wanted in enumerate(self._settings.cpu_sets or [allowed]):
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
                    memory_total_bytes=self._settings.memory_limit_bytes or _memory_bytes(),
                    numa_node=_numa_node(cores),
                )
            )
        return devices, problems

    def owns(self, device: Device) -> bool:
        """Whether it is a set of cores."""
        return device.kind == "cpu"

    def measure(self, device: Device, pid: int | None) -> Device:
        """Add what its worker takes."""
        used = self.room(device, pid).used
        return msgspec.structs.replace(device, memory_used_bytes=used, worker_memory_bytes=used)

    def room(self, device: Device, pid: int | None) -> Room:
        """Give what its worker takes, and may take yet."""
        used, free = pss_bytes(pid) if pid else 0, available_bytes()
        limit = self._settings.memory_limit_bytes
        return Room(used, max(0, min(free, limit - used)) if limit else free, used)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "CPU"
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else "CPU"


def _numa_node(cores: list[int]) -> int | None:
    """Give the memory node of the cores; None where they lie on several, or none is known."""
    nodes = {
        int(link.name[4:])
        for core in cores
        for link in Path(f"/sys/devices/system/cpu/cpu{core}").glob("node[0-9]*")
    }
    return nodes.pop() if len(nodes) == 1 else None
