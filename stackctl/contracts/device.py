"""Devices: GPUs by UUID, or sets of CPU cores."""

from __future__ import annotations

from typing import Literal

import msgspec


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
    worker_state: Literal["off", "starting", "ready", "restarting", "failed"] = "off"
    worker_pid: int | None = None
    worker_restarts: int = 0
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
