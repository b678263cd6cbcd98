from __future__ import annotations

from pathlib import Path

import pytest

from stackctl import paths


def test_one_variable_moves_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STACKCTL_HOME", str(tmp_path))
    monkeypatch.delenv("STACKCTL_SOCKET", raising=False)

    found = [paths.config_dir(), paths.data_dir(), paths.state_dir(), paths.cache_dir()]

    assert [p.parent for p in found] == [tmp_path] * 4
    assert paths.socket_path() == tmp_path / "run" / "stackctld.sock"


def test_xdg_directories_are_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STACKCTL_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert paths.data_dir() == tmp_path / "stackctl"


def test_the_socket_without_a_runtime_directory_names_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STACKCTL_HOME", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    assert str(paths.runtime_dir()).startswith("/tmp/stackctl-")


def test_what_ships_is_there() -> None:
    assert (paths.bundled("config") / "models").is_dir()
    assert paths.bundled("guide").is_dir()
