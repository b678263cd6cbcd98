from __future__ import annotations

from pathlib import Path

import pytest

from stackctl import paths
from stackctl.errors import BadConfig


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


@pytest.mark.parametrize(("variable", "name"), [("STACKCTL_HOME", "h"), ("STACKCTL_SOCKET", "s")])
def test_a_relative_path_is_refused_with_the_absolute_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, name)

    with pytest.raises(BadConfig, match=f"{variable}={name} is relative") as caught:
        paths.socket_path()

    assert caught.value.hint == f"export {variable}={tmp_path}/{name}"


def test_relative_xdg_directories_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STACKCTL_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")

    assert paths.data_dir() == tmp_path / ".local/share/stackctl"
    assert paths.runtime_dir().is_absolute()


def test_a_home_that_is_a_file_is_refused(own_home: Path) -> None:
    own_home.touch()

    for find in (paths.config_dir, paths.state_dir, paths.socket_path):
        with pytest.raises(BadConfig, match=f"STACKCTL_HOME={own_home} is no folder") as caught:
            find()
        assert caught.value.hint == "unset STACKCTL_HOME"
