"""Devices beside the state of their workers; refuses to know who runs the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from stackctl.contracts.device import Device, DeviceList
from stackctl.errors import StackctlError
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.backend import DeviceBackend
from stackctl_daemon.devices.inventory import backends

Live = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Gives, by device id, fields of `Device` as the workers have them now."""
_ANSWER_S = 5.0


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
        backend: DeviceBackend | None = None,
    ):
        self._devices = list(devices)
        self._problems = list(problems)
        self._live = live
        self._live_problems = live_problems
        self._backend = backend or backends(settings)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="devices")

    async def list(self) -> DeviceList:
        """Give the devices that were found at start, with what is measured now."""
        live = self._live()
        measured = await asyncio.gather(
            *(
                self._measure(device, live.get(device.id, {}).get("worker_pid"))
                for device in self._devices
            )
        )
        items = [
            msgspec.structs.replace(device, **live.get(device.id, {})) for device, _ in measured
        ]
        silent = [problem for _, problem in measured if problem]
        return DeviceList(items=items, problems=[*self._problems, *silent, *self._live_problems()])

    async def _measure(self, device: Device, pid: int | None) -> tuple[Device, str]:
        """Give a device as it is now; as it was, and why, where it does not answer."""
        loop = asyncio.get_running_loop()
        ask = loop.run_in_executor(self._threads, self._backend.measure, device, pid)
        try:
            # NVML can hang with a lost GPU: a stale reading is better than a stuck daemon.
            return await asyncio.wait_for(ask, _ANSWER_S), ""
        except TimeoutError:
            return device, f"{device.id} did not answer in {_ANSWER_S:.0f} s"
        except StackctlError as err:
            return device, err.message

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)
