"""Which devices this machine has; refuses to start anything on them."""

from __future__ import annotations

from stackctl.contracts.device import Device
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.backend import Backends, DeviceBackend
from stackctl_daemon.devices.cpu import CpuBackend
from stackctl_daemon.devices.nvml import NvmlBackend


def backends(settings: DeviceSettings) -> Backends:
    """Give what finds and measures the devices of the settings, GPUs first."""
    gpus: list[DeviceBackend] = []
    if settings.gpus != "off":
        gpus.append(NvmlBackend(settings.nvml_library))
    return Backends([*gpus, CpuBackend(settings)])


def inventory(settings: DeviceSettings) -> tuple[list[Device], list[str]]:
    """Give the devices, and what kept others from being used, in words."""
    return backends(settings).list()
