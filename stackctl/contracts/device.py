"""Devices: GPUs by UUID, or sets of CPU cores."""

from __future__ import annotations

from typing import Literal

import msgspec


class DeviceLink(msgspec.Struct, frozen=True, kw_only=True):
    """The way from one GPU to another."""

    device: str
    kind: str
    """``NV4``: four NVLinks; else as far as PCIe goes: ``internal``, ``single-switch``,
    ``switches``, ``host-bridge``, ``node`` or ``system``."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device and the worker process that owns it."""

    id: str
    """``cpu:0`` or ``cuda:0``."""
    kind: Literal["cpu", "cuda"]
    name: str
    uuid: str = ""
    cores: list[int] = []
    memory_total_bytes: int = 0
    memory_used_bytes: int = 0
    utilisation: float | None = None
    """0 to 1; None where nothing measures it."""
    temperature_c: float | None = None
    power_w: float | None = None
    ecc_errors: int | None = None
    """Uncorrected memory errors since the driver was loaded."""
    mig: bool | None = None
    """It is cut into slices, or is one."""
    numa_node: int | None = None
    driver_version: str = ""
    cuda_version: str = ""
    """The newest that the driver runs."""
    links: list[DeviceLink] = []
    """How it reaches the other GPUs."""
    worker_state: Literal["off", "starting", "ready", "restarting", "failed"] = "off"
    worker_pid: int | None = None
    worker_restarts: int = 0
    worker_memory_bytes: int | None = None
    """Of this device's memory what its worker holds, measured; None where nothing measures it."""
    models_memory_bytes: int = 0
    """What loading the models it holds took: what the worker holds above that is of requests, of
    libraries, or not given back yet."""
    execution_provider: str = ""
    """What ONNX Runtime really runs on, read from the session; empty until a model is loaded."""
    models: list[str] = []
    queued: int = 0
    """Inputs that wait there or are computed."""


class DeviceList(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of this machine."""

    items: list[Device]
    problems: list[str] = []
    """What kept a device from being used, in words."""
