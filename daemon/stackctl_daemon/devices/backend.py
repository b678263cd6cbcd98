"""What can find and measure devices, and all of them as one; refuses to place anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stackctl.contracts.device import Device
from stackctl.errors import NotFound
from stackctl_daemon.proc import Room


class DeviceBackend(Protocol):
    """One kind of device; every call may block."""

    def list(self) -> tuple[list[Device], list[str]]:
        """Give the devices as they are now, and what kept others from being used, in words."""
        ...

    def owns(self, device: Device) -> bool:
        """Whether it measures a device."""
        ...

    def measure(self, device: Device, pid: int | None) -> Device:
        """Give a device with what is measured now.

        Args:
            device: one of this backend.
            pid: its worker's process; None: there is none.

        Raises:
            Failed: it does not answer: it is lost.
        """
        ...

    def room(self, device: Device, pid: int | None) -> Room:
        """Give its memory; arguments and errors as of `measure`."""
        ...


class Backends:
    """Several backends as one."""

    def __init__(self, backends: Sequence[DeviceBackend]) -> None:
        self._backends = list(backends)

    def list(self) -> tuple[list[Device], list[str]]:
        """Give the devices of all."""
        devices: list[Device] = []
        problems: list[str] = []
        for backend in self._backends:
            found, told = backend.list()
            devices += found
            problems += told
        return devices, problems

    def owns(self, device: Device) -> bool:
        """Whether any measures a device."""
        return any(backend.owns(device) for backend in self._backends)

    def measure(self, device: Device, pid: int | None) -> Device:
        """Measure a device; see `DeviceBackend.measure`."""
        return self._of(device).measure(device, pid)

    def room(self, device: Device, pid: int | None) -> Room:
        """Give a device's memory; see `DeviceBackend.room`."""
        return self._of(device).room(device, pid)

    def _of(self, device: Device) -> DeviceBackend:
        for backend in self._backends:
            if backend.owns(device):
                return backend
        raise NotFound(f"nothing measures {device.id}", hint="stackctl devices")
