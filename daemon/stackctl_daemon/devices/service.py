"""Devices beside the state of their workers; refuses to know who runs the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from stackctl.contracts.device import Device, DeviceList
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.nvml import list_gpus

Live = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Gives, by device id, fields of `Device` as the workers have them now."""


class DeviceService:
    """The device area."""

    def __init__(
        self,
        settings: DeviceSettings,
        devices: Sequence[Device],
        problems: Sequence[str],
        *,
        live: Live = dict,
        live_problems: Callable[[], list[str]] = list,
    ):
        self._settings = settings
        self._devices = list(devices)
        self._problems = list(problems)
        self._live = live
        self._live_problems = live_problems
        self._nvml = ThreadPoolExecutor(1, thread_name_prefix="nvml")

    async def list(self) -> DeviceList:
        """Give the devices that were found at start, with what is measured now."""
        measured: dict[str, Device] = {}
        if any(device.kind == "cuda" for device in self._devices):
            loop = asyncio.get_running_loop()
            # NVML can hang with a lost GPU: a stale reading is better than a stuck daemon.
            try:
                gpus, _ = await asyncio.wait_for(
                    loop.run_in_executor(self._nvml, list_gpus, self._settings.nvml_library), 5
                )
            except TimeoutError:
                gpus = []
            measured = {gpu.uuid: gpu for gpu in gpus}
        live = self._live()
        items = [
            msgspec.structs.replace(
                measured.get(device.uuid, device) if device.kind == "cuda" else device,
                id=device.id,
                **live.get(device.id, {}),
            )
            for device in self._devices
        ]
        return DeviceList(items=items, problems=[*self._problems, *self._live_problems()])

    async def close(self) -> None:
        """Let the thread end."""
        self._nvml.shutdown(wait=False)
