from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from stackctl_daemon.notify import notify, notify_reloading


@pytest.mark.parametrize("abstract", [False, True])
def test_states_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"\0stackctl-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))

        assert notify("READY=1")
        assert notify_reloading()

        assert manager.recv(100) == b"READY=1"
        said = manager.recv(100).decode().splitlines()
    assert said[0] == "RELOADING=1"
    assert int(said[1].removeprefix("MONOTONIC_USEC=")) > 0


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify"])
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify("READY=1")
