"""Devices that are not there, with faults on demand: for trying out placement and eviction.

Never built from the settings: nothing of a real daemon runs on one. Refuses to compute: a
worker that speaks for such a device lies with the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from stackctl.contracts.device import Device
from stackctl.errors import Failed
from stackctl_daemon.proc import Room

Fault = Literal["", "out-of-memory", "hang", "lost", "slow", "silent-fallback"]


@dataclass(slots=True, eq=False)
class SimulatedDevice:
    """One device, its memory, its speed and what is wrong with it."""

    id: str
    kind: Literal["cpu", "cuda"] = "cuda"
    memory_bytes: int = 1_000_000_000
    service_s: float = 0.0
    """Of one input; ten times that with the fault ``slow``."""
    used_bytes: int = 0
    own_bytes: int = 0
    """Of them by its worker."""
    kept_bytes: int = 0
    """Of those what nothing but the end of the process gives back."""
    fault: Fault = ""

    def take(self, count: int) -> bool:
        """Reserve memory; False when there is not so much."""
        if self.fault == "out-of-memory" or self.used_bytes + count > self.memory_bytes:
            return False
        self.used_bytes += count
        self.own_bytes += count
        return True

    def give(self, count: int) -> None:
        """Give memory back."""
        self.used_bytes = max(0, self.used_bytes - count)
        self.own_bytes = max(0, self.own_bytes - count)

    def keep(self, count: int) -> bool:
        """Have the worker keep memory until its process ends; False when there is not so much."""
        taken = self.take(count)
        self.kept_bytes += count if taken else 0
        return taken

    def end(self) -> None:
        """Give back what the worker kept."""
        self.give(self.kept_bytes)
        self.kept_bytes = 0

    def serve_s(self, inputs: int) -> float:
        """How long inputs take."""
        return self.service_s * inputs * (10 if self.fault == "slow" else 1)


class SimulatedBackend:
    """Measures simulated devices."""

    def __init__(self, devices: list[SimulatedDevice]) -> None:
        self.devices = {device.id: device for device in devices}

    def list(self) -> tuple[list[Device], list[str]]:
        """Give those that are not lost."""
        lost = [f"{d.id}: GPU is lost" for d in self.devices.values() if d.fault == "lost"]
        return [_describe(d) for d in self.devices.values() if d.fault != "lost"], lost

    def owns(self, device: Device) -> bool:
        """Whether it is one of these."""
        return device.id in self.devices

    def measure(self, device: Device, pid: int | None) -> Device:
        """Give what it takes; see `DeviceBackend.measure`."""
        now = self.room(device, pid)
        return msgspec.structs.replace(
            device, memory_used_bytes=now.used, worker_memory_bytes=now.own
        )

    def room(self, device: Device, pid: int | None) -> Room:
        """Give its memory; see `DeviceBackend.room`."""
        found = self.devices[device.id]
        if found.fault == "lost":
            raise Failed(f"{device.id}: GPU is lost", hint="stackctl devices")
        free = found.memory_bytes - found.used_bytes
        return Room(found.used_bytes, free, found.own_bytes)


def _describe(device: SimulatedDevice) -> Device:
    return Device(
        id=device.id,
        kind=device.kind,
        name="simulated",
        uuid=f"SIM-{device.id}",
        memory_total_bytes=device.memory_bytes,
        memory_used_bytes=device.used_bytes,
    )
