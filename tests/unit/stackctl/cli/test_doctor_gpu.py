from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from control_server import ControlServer, script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library " * 10)

    with pytest.raises(ValueError, match="not an ELF library"):
        needed(text)
    with pytest.raises(FileNotFoundError):
        needed(tmp_path / "gone.so")


def test_a_small_library_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (_provider()[1].parent / "libonnxruntime_providers_shared.so").read_bytes()
    torn = tmp_path / "torn.so"
    torn.write_bytes(whole)
    assert "libc.so.6" in needed(torn)

    for length in range(len(whole) - 1, -1, -1):
        os.truncate(torn, length)
        with pytest.raises(ValueError, match=r"it has \d+ bytes of \d+|not an ELF library"):
            needed(torn)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_provider_cut_anywhere_is_refused(tmp_path: Path, share: float) -> None:
    whole = _provider()[1].parent / "libonnxruntime_providers_tensorrt.so"
    torn = tmp_path / "torn.so"
    torn.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])

    with pytest.raises(ValueError, match="it "):
        needed(torn)


@given(data=st.binary(max_size=400))
def test_a_header_with_anything_behind_it_raises_nothing_else(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(b"\x7fELF\x02\x01" + data)
        file.flush()
        with contextlib.suppress(ValueError):
            assert isinstance(needed(Path(file.name)), list)


def _findings(home: Path, gpu: dict[str, str]) -> list[dict[str, str]]:
    with ControlServer(home / "run" / "stackctld.sock") as server:
        script(server)
        server.routes["GET", "/v1/devices"] = {
            "items": [GPU | gpu],
            "problems": ["cuda:1: GPU is lost"],
        }
        return [f for f in doctor.examine(Client())["findings"] if f["check"] == "gpus"]


def test_a_driver_too_old_for_the_package_is_a_finding(own_home: Path) -> None:
    folder, provider = _provider()
    built = built_for(folder)
    major = built.partition(".")[0]
    older = f"{int(major) - 1}.8"

    messages = [f["message"] for f in _findings(own_home, {"cuda_version": older})]

    assert messages[0] == "cuda:1: GPU is lost"
    assert messages[1] == (
        f"the driver 535.54.03 runs CUDA {older}, onnxruntime-gpu was built for {built} and needs"
        f" one of CUDA {major} or later: models would run on the CPU"
    )
    missing = missing_libraries(provider, library_folders(folder))
    assert len(messages) == (3 if missing else 2)
    assert all(name in messages[-1] for name in missing)


@pytest.mark.parametrize("version", ["{same}.0", "{later}.0", "unknown"])
def test_a_driver_of_the_same_major_or_a_later_one_is_none(own_home: Path, version: str) -> None:
    major = int(built_for(_provider()[0]).partition(".")[0])

    found = _findings(own_home, {"cuda_version": version.format(same=major, later=major + 1)})

    assert not any("the driver" in finding["message"] for finding in found)


def test_a_damaged_provider_is_a_finding_with_its_repair(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    torn = capi / "libonnxruntime_providers_cuda.so"
    with _provider()[1].open("rb") as whole:
        torn.write_bytes(whole.read(100_000))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)  # as doctor's own process

    finding = _findings(own_home, {})[-1]
    torn.unlink()
    gone = _findings(own_home, {})[-1]

    assert (
        "libonnxruntime_providers_cuda.so is damaged, it has 100000 bytes of"
        in (finding["message"])
    )
    assert finding["fix"].endswith("pip install --force-reinstall onnxruntime-gpu")
    assert "libonnxruntime_providers_cuda.so is not here" in gone["message"]


def test_a_machine_without_a_gpu_has_no_finding(own_home: Path) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        server.routes["GET", "/v1/devices"] = {
            "items": [{"id": "cpu:0", "kind": "cpu", "name": "CPU"}],
            "problems": [],
        }
        found = [f for f in doctor.examine(Client())["findings"] if f["check"] == "gpus"]

    assert found == []
