"""NVIDIA GPUs through NVML; the only importer of pynvml. Refuses to change a setting."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from stackctl.contracts.device import Device, DeviceLink
from stackctl.errors import Failed
from stackctl_daemon.proc import Room

_MAX_NVLINKS = 18
_PATHS = {
    0: "internal",
    10: "single-switch",
    20: "switches",
    30: "host-bridge",
    40: "node",
    50: "system",
}
"""nvmlGpuTopologyLevel_t of nvml.h."""


class NvmlBackend:
    """The GPUs of this machine, and the slices of those that are cut by MIG."""

    def __init__(self, library: str = "") -> None:
        """Take the path of libnvidia-ml, when it is not the system's."""
        self._library = library
        self._lock = threading.Lock()

    def list(self) -> tuple[list[Device], list[str]]:
        """Give the GPUs; a machine without the library has none, unless its path was given."""
        try:
            with self._open() as pynvml:
                return _list(pynvml) if pynvml else ([], [])
        except Failed as err:
            return [], [err.message]

    def owns(self, device: Device) -> bool:
        """Whether it is a GPU."""
        return device.kind == "cuda"

    def measure(self, device: Device, pid: int | None) -> Device:
        """Read a GPU again, by its UUID: the driver numbers them anew when one is lost."""
        found, problems = self.list()
        for gpu in found:
            if gpu.uuid == device.uuid:
                own = self._own_bytes(gpu, pid) if pid else 0
                return msgspec.structs.replace(
                    gpu, id=device.id, links=device.links, worker_memory_bytes=own
                )
        told = "; ".join(problems) or "it is not listed any more"
        raise Failed(f"{device.id} is lost: {told}", hint="nvidia-smi")

    def room(self, device: Device, pid: int | None) -> Room:
        """Give the memory of a GPU, whoever uses it."""
        now = self.measure(device, pid)
        free = now.memory_total_bytes - now.memory_used_bytes
        return Room(now.memory_used_bytes, free, now.worker_memory_bytes)

    def _own_bytes(self, gpu: Device, pid: int) -> int | None:
        """Give what a process has of a GPU; None where the driver does not say.

        It sees pids of its own namespace: within a container it may know none of ours.
        """
        with self._open() as pynvml:
            handle = pynvml and _ask(pynvml, "nvmlDeviceGetHandleByUUID", gpu.uuid)
            if not handle:
                return None
            found = _ask(pynvml, "nvmlDeviceGetComputeRunningProcesses", handle)
            return next((p.usedGpuMemory for p in found or [] if p.pid == pid), None)

    @contextmanager
    def _open(self) -> Iterator[Any]:  # Any: the module has no types
        # Deferred: a machine without GPUs never pays for it.
        import pynvml

        with self._lock:
            try:
                if self._library:
                    # nvidia-ml-py has no option for the path; it keeps a library that is set.
                    pynvml.nvmlLib = ctypes.CDLL(self._library)
                pynvml.nvmlInit()
            except OSError as err:
                raise Failed(f"NVML: {self._library} cannot be loaded: {err}") from err
            # pynvml makes this class when it is imported.
            except pynvml.NVMLError_LibraryNotFound:  # pyright: ignore[reportAttributeAccessIssue]
                yield None
                return
            except pynvml.NVMLError as err:
                raise Failed(f"NVML does not start: {err}") from err
            try:
                yield pynvml
            finally:
                pynvml.nvmlShutdown()


def list_gpus(library: str = "") -> tuple[list[Device], list[str]]:
    """Give the GPUs as they are now; see `NvmlBackend.list`."""
    return NvmlBackend(library).list()


def _list(pynvml: Any) -> tuple[list[Device], list[str]]:
    devices: list[Device] = []
    problems: list[str] = []
    driver, cuda = _driver(pynvml)
    handles: dict[str, Any] = {}
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as err:
        return [], [f"NVML does not list devices: {err}"]
    for index in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            whole = _read(pynvml, handle, f"cuda:{index}")
            slices = _slices(pynvml, handle, whole) if whole.mig else []
            handles[whole.id] = handle
            devices += slices or [whole]
        except pynvml.NVMLError as err:
            problems.append(f"cuda:{index}: {err}")
    linked = [
        msgspec.structs.replace(
            device,
            links=_links(pynvml, device.id, handles),
            driver_version=driver,
            cuda_version=cuda,
        )
        for device in devices
    ]
    return linked, problems


def _driver(pynvml: Any) -> tuple[str, str]:
    """Give the driver's version, and the newest CUDA that it runs; "" where it does not tell."""
    driver = _ask(pynvml, "nvmlSystemGetDriverVersion")
    number = _ask(pynvml, "nvmlSystemGetCudaDriverVersion_v2") or 0
    # 13000: 13.0, as nvml.h has it.
    cuda = f"{number // 1000}.{number % 1000 // 10}" if number else ""
    return _text(driver) if driver else "", cuda


def _read(pynvml: Any, handle: Any, name: str) -> Device:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)

    rates = _ask(pynvml, "nvmlDeviceGetUtilizationRates", handle)
    power_mw = _ask(pynvml, "nvmlDeviceGetPowerUsage", handle)
    temperature = _ask(pynvml, "nvmlDeviceGetTemperature", handle, 0)  # NVML_TEMPERATURE_GPU
    mig = _ask(pynvml, "nvmlDeviceGetMigMode", handle)
    return Device(
        id=name,
        kind="cuda",
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.used,
        utilisation=None if rates is None else rates.gpu / 100,
        temperature_c=None if temperature is None else float(temperature),
        power_w=None if power_mw is None else power_mw / 1000,
        # NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC
        ecc_errors=_ask(pynvml, "nvmlDeviceGetTotalEccErrors", handle, 1, 0),
        mig=None if mig is None else bool(mig[0]),
        numa_node=_ask(pynvml, "nvmlDeviceGetNumaNodeId", handle),
    )


def _slices(pynvml: Any, handle: Any, whole: Device) -> list[Device]:
    """Give the MIG slices of a GPU: with MIG on, CUDA runs on them alone."""
    found = []
    for index in range(_ask(pynvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = _ask(pynvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if part is not None:
            read = _read(pynvml, part, f"{whole.id}.{index}")
            found.append(msgspec.structs.replace(read, mig=True, power_w=whole.power_w))
    return found


def _links(pynvml: Any, name: str, handles: dict[str, Any]) -> list[DeviceLink]:
    """Say how a GPU reaches the others: by NVLink, else as far as PCIe has to go."""
    if name not in handles:
        return []
    mine = handles[name]
    lanes = _nvlinks(pynvml, mine)
    found = []
    for other, handle in handles.items():
        if other == name:
            continue
        count = lanes.get(_bus(_ask(pynvml, "nvmlDeviceGetPciInfo", handle)), 0)
        level = _ask(pynvml, "nvmlDeviceGetTopologyCommonAncestor", mine, handle)
        kind = f"NV{count}" if count else _PATHS.get(-1 if level is None else int(level), "")
        if kind:
            found.append(DeviceLink(device=other, kind=kind))
    return found


def _nvlinks(pynvml: Any, handle: Any) -> dict[str, int]:
    """Count the active NVLinks of a GPU by the PCI address at their other end."""
    found: dict[str, int] = {}
    for link in range(_MAX_NVLINKS):
        active = _ask(pynvml, "nvmlDeviceGetNvLinkState", handle, link)
        if active is None:
            break
        address = _bus(
            _ask(pynvml, "nvmlDeviceGetNvLinkRemotePciInfo", handle, link) if active else None
        )
        if address:
            found[address] = found.get(address, 0) + 1
    return found


def _bus(info: Any) -> str:
    return _text(info.busId) if info is not None else ""


def _ask(pynvml: Any, function: str, *arguments: Any) -> Any:
    """Call NVML; None where a GPU, a MIG slice or an older driver does not tell."""
    try:
        return getattr(pynvml, function)(*arguments)
    except (pynvml.NVMLError, AttributeError):
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
