from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from control_server import ControlServer, script

from stackctl.cli import doctor
from stackctl.cli.doctor_gpu import (
    built_for,
    library_folders,
    missing_libraries,
    needed,
    package_folder,
)
from stackctl.client import Client

GPU = {
    "id": "cuda:0",
    "kind": "cuda",
    "name": "Stub GPU",
    "driver_version": "535.54.03",
    "cuda_version": "12.2",
}


def _provider() -> tuple[Path, Path]:
    folder = package_folder()
    assert folder is not None
    return folder, folder / "capi" / "libonnxruntime_providers_cuda.so"


def test_libraries_that_a_real_provider_names_are_read() -> None:
    _, provider = _provider()

    names = needed(provider)

    assert "libc.so.6" in names
    assert any(name.startswith("libcublasLt.so.") for name in names)


@pytest.mark.skipif(not shutil.which("ldd"), reason="needs ldd")
def test_what_is_missing_is_what_the_loader_misses() -> None:
    folder, provider = _provider()
    told = subprocess.run(["ldd", str(provider)], capture_output=True, text=True, check=True)
    lost = {line.split()[0] for line in told.stdout.splitlines() if "not found" in line}

    found = set(missing_libraries(provider, library_folders(folder)))

    assert found == lost


def test_a_library_that_is_somewhere_is_not_missing(tmp_path: Path) -> None:
    _, provider = _provider()
    for name in needed(provider):
        (tmp_path / name).touch()

    assert missing_libraries(provider, [tmp_path]) == []


def test_a_file_that_is_no_library_is_missing_itself(tmp_path: Path) -> None:
    torn = tmp_path / "torn.so"
    torn.write_bytes(b"\x7fELF\x02\x01")

    assert missing_libraries(torn, []) == ["torn.so"]
    assert missing_libraries(tmp_path / "gone.so", []) == ["gone.so"]


def test_a_driver_too_old_for_the_package_is_a_finding(own_home: Path) -> None:
    folder, provider = _provider()
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        server.routes["GET", "/v1/devices"] = {
            "items": [GPU],
            "problems": ["cuda:1: GPU is lost"],
        }
        found = [f for f in doctor.examine(Client())["findings"] if f["check"] == "gpus"]

    messages = [finding["message"] for finding in found]
    assert messages[0] == "cuda:1: GPU is lost"
    assert messages[1] == (
        f"the driver 535.54.03 runs CUDA 12.2, onnxruntime-gpu was built for {built_for(folder)}:"
        " models would run on the CPU"
    )
    missing = missing_libraries(provider, library_folders(folder))
    assert len(messages) == (3 if missing else 2)
    assert all(name in messages[-1] for name in missing)


def test_a_machine_without_a_gpu_has_no_finding(own_home: Path) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        server.routes["GET", "/v1/devices"] = {
            "items": [{"id": "cpu:0", "kind": "cpu", "name": "CPU"}],
            "problems": [],
        }
        found = [f for f in doctor.examine(Client())["findings"] if f["check"] == "gpus"]

    assert found == []
