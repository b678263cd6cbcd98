from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.devices.routes import routes
from stackctl_daemon.devices.service import DeviceService
from stackctl_daemon.http.registry import Reply, Request

STUB = r"""
#include <string.h>
typedef int ret; typedef void *dev;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } rates;
ret nvmlInitWithFlags(unsigned f) { return 0; }
ret nvmlInit_v2(void) { return 0; }
ret nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(ret r) { return r == 15 ? "GPU is lost" : "Not Supported"; }
ret nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned i, dev *d) {
  if (i == 1) return 15;
  *d = (dev)(long)(i + 1); return 0; }
ret nvmlDeviceGetName(dev d, char *s, unsigned n) { strncpy(s, "Stub GPU", n); return 0; }
ret nvmlDeviceGetUUID(dev d, char *s, unsigned n) { strncpy(s, "GPU-stub", n); return 0; }
ret nvmlDeviceGetMemoryInfo(dev d, memory *m) {
  m->total = 1000; m->free = 600; m->used = 400; return 0; }
ret nvmlDeviceGetUtilizationRates(dev d, rates *r) { r->gpu = 25; r->memory = 1; return 0; }
ret nvmlDeviceGetTemperature(dev d, int s, unsigned *t) { return 3; }
"""

READ = """
import msgspec, sys
from stackctl_daemon.devices.nvml import list_gpus
sys.stdout.buffer.write(msgspec.json.encode(list_gpus(sys.argv[1])))
"""


def test_one_cpu_device_with_every_allowed_core_by_default() -> None:
    devices, _ = inventory(DeviceSettings(gpus="off"))

    (device,) = devices
    assert device.cores == sorted(os.sched_getaffinity(0))
    assert (device.id, device.kind) == ("cpu:0", "cpu")
    assert device.memory_total_bytes > 0


def test_cores_that_are_not_ours_and_shared_cores_are_told() -> None:
    core = min(os.sched_getaffinity(0))

    devices, problems = inventory(
        DeviceSettings(gpus="off", cpu_sets=[[core], [core, 4000], [4001]])
    )

    assert [device.cores for device in devices] == [[core], [core]]
    assert any("4000" in problem for problem in problems)
    assert any("belong to another" in problem for problem in problems)


def test_missing_nvml_library_is_a_problem_only_when_it_was_named() -> None:
    _, problems = inventory(DeviceSettings(nvml_library="/nonexistent/libnvidia-ml.so"))

    assert any("/nonexistent/libnvidia-ml.so" in problem for problem in problems)


def test_gpus_are_read_through_nvml(tmp_path: Path) -> None:
    """A stub of the C library; in a child, for pynvml keeps the library it has loaded."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler")
    (tmp_path / "stub.c").write_text(STUB)
    library = tmp_path / "libstub.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "stub.c"], check=True)

    done = subprocess.run([sys.executable, "-c", READ, library], capture_output=True, check=True)

    (gpu,), problems = msgspec.json.decode(done.stdout)
    assert (gpu["id"], gpu["uuid"], gpu["name"]) == ("cuda:0", "GPU-stub", "Stub GPU")
    assert (gpu["memory_used_bytes"], gpu["utilisation"]) == (400, 0.25)
    assert gpu["temperature_c"] is None
    assert len(problems) == 1
    assert problems[0].startswith("cuda:1")


def test_list_joins_devices_with_the_state_of_their_workers() -> None:
    devices, problems = inventory(DeviceSettings(gpus="off", cpu_sets=[[0]]))
    service = DeviceService(
        DeviceSettings(),
        devices,
        problems,
        live=lambda: {"cpu:0": {"worker_state": "ready", "worker_pid": 7}},
        live_problems=lambda: ["slow"],
    )
    (route,) = routes(service)

    async def ask() -> Reply:
        return await route.handler(Request("r", "GET", "/v1/devices", {}, {}, None, 0))

    reply = asyncio.run(ask())

    (item,) = reply.body.items
    assert (item.worker_state, item.worker_pid, item.cores) == ("ready", 7, [0])
    assert reply.body.problems[-1] == "slow"
