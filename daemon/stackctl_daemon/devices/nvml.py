"""NVIDIA GPUs through NVML; the only importer of pynvml. Refuses to change a setting."""

from __future__ import annotations

import ctypes
from typing import Any

from stackctl.contracts.device import Device


def list_gpus(library: str = "") -> tuple[list[Device], list[str]]:
    """Give the GPUs as they are now, and what kept others from being read.

    Args:
        library: path of libnvidia-ml, when it is not the system's. A machine without the
            library has no GPU, which is no problem unless the path was given.
    """
    # Deferred: a machine without GPUs never pays for it.
    import pynvml

    try:
        if library:
            # nvidia-ml-py has no option for the path; it keeps a library that is set.
            pynvml.nvmlLib = ctypes.CDLL(library)
        pynvml.nvmlInit()
    except OSError as err:
        return [], [f"NVML: {library} cannot be loaded: {err}"]
    # pynvml makes this class when it is imported.
    except pynvml.NVMLError_LibraryNotFound:  # pyright: ignore[reportAttributeAccessIssue]
        return [], []
    except pynvml.NVMLError as err:
        return [], [f"NVML does not start: {err}"]
    devices: list[Device] = []
    problems: list[str] = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                devices.append(_read(pynvml, index))
            except pynvml.NVMLError as err:
                problems.append(f"cuda:{index}: {err}")
    except pynvml.NVMLError as err:
        problems.append(f"NVML does not list devices: {err}")
    finally:
        pynvml.nvmlShutdown()
    return devices, problems


def _read(pynvml: Any, index: int) -> Device:  # Any: the module has no types
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Device(
        id=f"cuda:{index}",
        kind="cuda",
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.used,
        utilisation=_optional(
            pynvml, lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        ),
        temperature_c=_optional(
            pynvml,
            lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        ),
    )


def _optional(pynvml: Any, read: Any) -> float | None:
    """Some GPUs, and MIG slices, do not measure everything."""
    try:
        value: float = read()
    except pynvml.NVMLError:
        return None
    return value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
