from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackctl.contracts.device import Device
from stackctl.errors import Failed
from stackctl.settings import DeviceSettings
from stackctl_daemon.devices.inventory import backends, inventory
from stackctl_daemon.devices.nvml import NvmlBackend
from stackctl_daemon.devices.routes import routes
from stackctl_daemon.devices.service import DeviceService
from stackctl_daemon.http.registry import Reply, Request

STUB = r"""
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
typedef int ret; typedef void *dev;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, sub; char busId[32]; } pci;
static long number(dev d) { return (long)d; }
ret nvmlInitWithFlags(unsigned f) { return 0; }
ret nvmlInit_v2(void) { return 0; }
ret nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(ret r) { return r == 15 ? "GPU is lost" : "Not Supported"; }
ret nvmlSystemGetDriverVersion(char *s, unsigned n) { strncpy(s, "580.65.06", n); return 0; }
ret nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13010; return 0; }
ret nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned i, dev *d) {
  const char *lost = getenv("STUB_LOST");
  if (lost && atoi(lost) == (int)i) return 15;
  *d = (dev)(long)(i + 1); return 0; }
ret nvmlDeviceGetName(dev d, char *s, unsigned n) { strncpy(s, "Stub GPU", n); return 0; }
ret nvmlDeviceGetUUID(dev d, char *s, unsigned n) {
  snprintf(s, n, "GPU-stub-%ld", number(d)); return 0; }
ret nvmlDeviceGetMemoryInfo(dev d, memory *m) {
  m->total = 1000; m->free = 600; m->used = 400; return 0; }
ret nvmlDeviceGetUtilizationRates(dev d, rates *r) { r->gpu = 25; r->memory = 1; return 0; }
ret nvmlDeviceGetTemperature(dev d, int s, unsigned *t) { return 3; }
ret nvmlDeviceGetPowerUsage(dev d, unsigned *p) { *p = 71500; return 0; }
ret nvmlDeviceGetTotalEccErrors(dev d, int kind, int when, unsigned long long *n) {
  *n = kind == 1 && when == 0 ? 2 : 99; return 0; }
ret nvmlDeviceGetMigMode(dev d, unsigned *now, unsigned *then) {
  *now = *then = number(d) == 3; return number(d) > 3 ? 3 : 0; }
ret nvmlDeviceGetMaxMigDeviceCount(dev d, unsigned *n) { *n = 7; return 0; }
ret nvmlDeviceGetMigDeviceHandleByIndex(dev d, unsigned i, dev *part) {
  if (i > 1) return 6;
  *part = (dev)(number(d) * 10 + i); return 0; }
ret nvmlDeviceGetNumaNodeId(dev d, unsigned *n) { *n = 1; return 0; }
ret nvmlDeviceGetTopologyCommonAncestor(dev a, dev b, int *level) { *level = 30; return 0; }
ret nvmlDeviceGetPciInfo_v3(dev d, pci *p) {
  memset(p, 0, sizeof *p); snprintf(p->busId, 32, "0000:%02lX:00.0", number(d)); return 0; }
ret nvmlDeviceGetNvLinkState(dev d, unsigned link, int *on) {
  if (link >= 4 || number(d) == 3) return 2;
  *on = link < 2; return 0; }
ret nvmlDeviceGetNvLinkRemotePciInfo_v2(dev d, unsigned link, pci *p) {
  return nvmlDeviceGetPciInfo_v3((dev)(3 - number(d)), p); }
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


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the symbols that nvml.h declares, with three GPUs."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("stub")
    (folder / "stub.c").write_text(STUB)
    library = folder / "libstub.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "stub.c"], check=True)
    return library


def read(stub: Path, **env: str) -> Any:
    """In a child, for pynvml keeps the library it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", READ, stub], capture_output=True, check=True, env=os.environ | env
    )
    return msgspec.json.decode(done.stdout)


def test_gpus_are_read_through_nvml(stub: Path) -> None:
    gpus, problems = read(stub)

    first = gpus[0]
    assert problems == []
    assert (first["id"], first["uuid"], first["name"]) == ("cuda:0", "GPU-stub-1", "Stub GPU")
    assert (first["driver_version"], first["cuda_version"]) == ("580.65.06", "13.1")
    assert (first["memory_used_bytes"], first["utilisation"]) == (400, 0.25)
    assert (first["power_w"], first["ecc_errors"], first["numa_node"]) == (71.5, 2, 1)
    assert first["temperature_c"] is None
    assert first["mig"] is False


def test_links_tell_nvlink_from_pcie(stub: Path) -> None:
    gpus, _ = read(stub)

    assert gpus[0]["links"] == [
        {"device": "cuda:1", "kind": "NV2"},
        {"device": "cuda:2", "kind": "host-bridge"},
    ]


def test_a_gpu_that_is_cut_by_mig_is_its_slices(stub: Path) -> None:
    gpus, _ = read(stub)

    assert [gpu["id"] for gpu in gpus] == ["cuda:0", "cuda:1", "cuda:2.0", "cuda:2.1"]
    assert [gpu["uuid"] for gpu in gpus[2:]] == ["GPU-stub-30", "GPU-stub-31"]
    assert all(gpu["mig"] for gpu in gpus[2:])


def test_a_lost_gpu_is_told_and_the_others_are_there(stub: Path) -> None:
    gpus, problems = read(stub, STUB_LOST="1")

    assert [gpu["id"] for gpu in gpus[:2]] == ["cuda:0", "cuda:2.0"]
    assert len(problems) == 1
    assert problems[0].startswith("cuda:1")


def test_a_gpu_without_a_library_does_not_answer() -> None:
    gpu = Device(id="cuda:0", kind="cuda", name="gone", uuid="GPU-x")

    with pytest.raises(Failed, match="cuda:0 is lost: NVML: /nonexistent/lib"):
        NvmlBackend("/nonexistent/lib").room(gpu, None)


def test_a_limit_bounds_the_room_of_a_cpu_device() -> None:
    settings = DeviceSettings(gpus="off", memory_limit_bytes=64 << 20)
    backend = backends(settings)
    (device,), _ = backend.list()

    room = backend.room(device, os.getpid())
    now = backend.measure(device, os.getpid())

    assert device.memory_total_bytes == 64 << 20
    assert room.used == pytest.approx(now.memory_used_bytes, rel=0.1)
    assert room.free == max(0, (64 << 20) - room.used)
    assert (backend.room(device, None).free or 0) <= 64 << 20


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
