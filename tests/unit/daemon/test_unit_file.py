"""The systemd unit says what the daemon does, alone and with the drop-in of a system unit."""

from __future__ import annotations

import configparser
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from repository import ROOT

from stackctl_daemon import main, notify

UNIT = ROOT / "daemon" / "stackctld.service"
SYSTEM = ROOT / "daemon" / "stackctld.system.conf"

# Each of these makes a user's own manager turn PrivateUsers on, see systemd.exec(5).
MOUNTING = {
    "PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateNetwork", "PrivateIPC",
    "ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectKernelTunables",
    "ProtectControlGroups", "ProtectHostname", "ReadWritePaths", "ReadOnlyPaths",
    "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem",
    "RootDirectory",
}  # fmt: skip
# Each of these drops capabilities, which a user's own manager may not.
DROPPING = {
    "CapabilityBoundingSet", "AmbientCapabilities", "ProtectKernelModules",
    "ProtectKernelLogs", "ProtectClock",
}  # fmt: skip
# Each of these closes /dev/nvidia*.
CLOSING_GPUS = {"ProtectClock", "PrivateDevices", "DeviceAllow", "DevicePolicy"}


def _service(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys keep their case
    parser.read_string(file.read_text())
    return dict(parser["Service"])


def test_the_command_is_one_that_stackctld_understands() -> None:
    program, *flags = _service(UNIT)["ExecStart"].removeprefix("/usr/bin/env ").split()

    assert program == "stackctld"
    assert main._parser().parse_args(flags).foreground


def test_the_manager_hears_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _service(UNIT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        assert notify.notify("READY=1")

        assert manager.recv(100) == b"READY=1"
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"  # the daemon itself sends it, not a child
    assert "AF_UNIX" in service["RestrictAddressFamilies"].split()


def test_the_peers_of_the_socket_keep_their_names() -> None:
    user = _service(UNIT)

    assert "PrivateUsers" not in user.keys() | _service(SYSTEM).keys()
    assert not user.keys() & MOUNTING
    assert not user.keys() & DROPPING


def test_the_gpus_stay_open() -> None:
    assert not (_service(UNIT).keys() | _service(SYSTEM).keys()) & CLOSING_GPUS


def test_a_system_unit_is_no_root_and_writes_where_its_home_is() -> None:
    system = _service(SYSTEM)

    assert system["User"] not in ("", "root")
    assert system["Environment"] == f"STACKCTL_HOME=/var/lib/{system['StateDirectory']}"
    assert (system["ProtectSystem"], system["CapabilityBoundingSet"]) == ("strict", "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize(
    ("system", "most"), [(False, 6.5), (True, 2.5)], ids=["user unit", "system unit"]
)
def test_systemd_accepts_it_and_finds_it_hardened(
    tmp_path: Path, system: bool, most: float
) -> None:
    if "--offline" not in _analyze("--help").stdout:
        pytest.skip("systemd-analyze cannot score a file, it is older than 250")
    unit = tmp_path / UNIT.name
    shutil.copy(UNIT, unit)
    if system:
        drop_ins = tmp_path / f"{UNIT.name}.d"
        drop_ins.mkdir()
        shutil.copy(SYSTEM, drop_ins / "system.conf")

    verified = _analyze("verify", "--man=no", str(unit))
    scored = _analyze("security", "--offline=true", f"--threshold={most * 10:.0f}", str(unit))

    assert verified.stdout + verified.stderr == ""
    assert verified.returncode == 0
    assert scored.returncode == 0, scored.stdout


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
