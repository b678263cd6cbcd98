from __future__ import annotations

import socket
from pathlib import Path

import pytest
from control_server import STATUS, VERSION, ControlServer, script

from stackctl.cli import doctor
from stackctl.cli.output import Output
from stackctl.client import Client


def _found(check: str) -> list[tuple[str, str]]:
    report = doctor.examine(Client())
    return [(f["message"], f["fix"]) for f in report["findings"] if f["check"] == check]


def test_an_open_runtime_directory_is_a_finding(own_home: Path) -> None:
    runtime = own_home / "run"
    runtime.mkdir(parents=True)
    runtime.chmod(0o755)

    assert _found("directories") == [(f"{runtime} is open to other users", f"chmod 700 {runtime}")]


def test_the_operator_groups_way_into_the_runtime_directory_is_no_finding(own_home: Path) -> None:
    file = own_home / "config" / "stackctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[daemon]\noperator_group = 'stack'\n")
    runtime = own_home / "run"
    runtime.mkdir()
    runtime.chmod(0o710)

    as_made = _found("directories")
    runtime.chmod(0o750)
    wider = _found("directories")
    file.unlink()
    runtime.chmod(0o710)
    without = _found("directories")

    fix = f"chmod 710 {runtime}"
    assert as_made == []
    assert wider == [(f"{runtime} is open to more than the operator group", fix)]
    assert without == [(f"{runtime} is open to other users", f"chmod 700 {runtime}")]


def test_a_stale_socket_is_a_finding(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))

    [(message, fix)] = _found("socket")

    assert message.startswith("stale socket")
    assert fix == "stackctl up"


def test_a_file_in_the_sockets_place_is_a_finding(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True)
    path.touch()

    assert _found("socket") == [(f"{path} is no socket", f"rm {path}")]


def test_a_bad_configuration_is_a_finding_with_its_line(own_home: Path) -> None:
    file = own_home / "config" / "stackctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[daemon]\nlog_levle = 'x'\n")

    [(message, _)] = _found("configuration")

    assert f"{file}:2" in message


def test_what_the_daemon_reports_is_found(own_home: Path) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        server.routes["GET", "/v1/status"] = {**STATUS, "daemon": {**VERSION, "version": "0.0"}}
        server.routes["POST", "/v1/models/all-minilm-l6-v2/verify"] = {
            "name": "all-minilm-l6-v2",
            "ok": False,
            "problems": ["model.safetensors: wrong sha256"],
        }

        daemon, models = _found("daemon"), _found("models")

    assert [fix for _, fix in daemon] == [
        "stackctl down && stackctl up",
        "stackctl doctor --repair",
    ]
    assert models == [
        (
            "model all-minilm-l6-v2: model.safetensors: wrong sha256",
            "stackctl models pull all-minilm-l6-v2",
        )
    ]


def test_repair_mends_degraded_areas_alone(own_home: Path) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)

        done = doctor.repair(Client())

    assert done == [{"area": "analytics", "actions": ["rebuilt it"]}]
    assert ("POST", "/v1/repair", {"area": "analytics"}) in server.seen


def _install(site: Path, name: str, *, complete: bool = True) -> None:
    """Lay out a distribution as pip would."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("onnxruntime/shared.py,,\n")
    if complete:
        (site / "onnxruntime").mkdir(exist_ok=True)
        (site / "onnxruntime" / "shared.py").touch()


def test_two_onnxruntimes_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path / "site", "onnxruntime")
    _install(tmp_path / "site", "onnxruntime-gpu")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    [(message, fix)] = _found("packages")

    assert "both installed" in message
    assert "uninstall -y onnxruntime &&" in fix


def test_a_clobbered_onnxruntime_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "site", "onnxruntime-gpu", complete=False)
    monkeypatch.setattr("sys.path", [str(tmp_path / "site"), *_standard_library()])

    [(message, _)] = _found("packages")

    assert message.startswith("1 files of onnxruntime-gpu are missing")


def test_files_of_another_package_in_place_of_onnxruntimes_are_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "site", "onnxruntime-gpu")
    library = tmp_path / "site" / "onnxruntime" / "state.so"
    library.write_bytes(b"the other's")
    record = next((tmp_path / "site").glob("*.dist-info/RECORD"))
    record.write_text("onnxruntime/state.so,sha256=x,5\n")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site"), *_standard_library()])

    [(message, fix)] = _found("packages")

    assert message == "1 files of onnxruntime-gpu are another's, such as onnxruntime/state.so"
    assert "--force-reinstall" in fix


def _standard_library() -> list[str]:
    import sys

    return [entry for entry in sys.path if "site-packages" not in entry]


def test_the_report_reads_well() -> None:
    report = {
        "ok": False,
        "checks": [{"check": "disk", "ok": False}, {"check": "python", "ok": True}],
        "findings": [{"check": "disk", "message": "only 3 B free", "fix": "df -h /"}],
        "repaired": [{"area": "search", "actions": ["rebuilt vectors"]}],
    }

    assert list(doctor.lines(Output(), report)) == [
        "repaired search: rebuilt vectors",
        "disk           problem",
        "  only 3 B free",
        "  fix: df -h /",
        "python         ok",
        "1 problem found",
    ]


def test_one_folder_that_may_not_be_written_is_one_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STACKCTL_HOME", "/nowhere/home")
    # A test may run as root, who may write anywhere.
    monkeypatch.setattr("os.access", lambda *_: False)

    assert _found("directories") == [("/ may not be written by this user", "ls -ld /")]


def test_a_socket_that_cannot_be_bound_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_HOME", "/tmp/" + "a" * 115)

    [(message, fix)] = _found("socket")

    assert "limit of 107 bytes" in message
    assert fix.startswith("export STACKCTL_SOCKET=/")
