from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stackctl.client.launcher import check_length, start
from stackctl.errors import BadConfig, Unreachable


def _daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a daemon of our own in front of the real one, as a program that really runs."""
    package = tmp_path / "first" / "stackctl_daemon"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "main.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_a_start_that_succeeds_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _daemon(tmp_path, monkeypatch, f"open({str(tmp_path / 'ran')!r}, 'w').close()")

    start()

    assert (tmp_path / "ran").exists()


def test_a_bad_configuration_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "stackctld: a.toml:3: wrong\nfix: mend it\n"
    text = f"import sys; sys.stderr.write({said!r}); sys.exit(78)"
    _daemon(tmp_path, monkeypatch, text)

    with pytest.raises(BadConfig, match=r"^a\.toml:3: wrong$") as caught:
        start()

    assert caught.value.hint == "mend it"


def test_a_start_that_fails_says_what_the_daemon_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _daemon(tmp_path, monkeypatch, "raise OSError('no space')")

    with pytest.raises(Unreachable, match=r"status 1\): OSError: no space") as caught:
        start()

    assert caught.value.hint == "stackctl doctor"


def test_the_loser_of_a_race_is_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from control_server import ControlServer

    from stackctl import paths

    _daemon(tmp_path, monkeypatch, "raise SystemExit(5)")
    with ControlServer(paths.socket_path()):
        start()


def test_what_the_system_refuses_is_said_without_a_class_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _daemon(tmp_path, monkeypatch, "open('/proc/none/x', 'w')")

    with pytest.raises(Unreachable, match=r"\): /proc/none/x: no such file or directory$"):
        start()


def test_python_files_of_the_current_folder_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _daemon(tmp_path, monkeypatch, "import msgspec")
    (tmp_path / "msgspec.py").write_text("raise SystemExit('the wrong msgspec')")
    monkeypatch.chdir(tmp_path)

    start()


def test_a_socket_that_cannot_be_bound_is_refused_with_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = "/tmp/" + "a" * 115
    monkeypatch.setenv("STACKCTL_HOME", home)

    with pytest.raises(BadConfig, match=r"limit of 107 bytes") as caught:
        start()

    assert "has 139 bytes, expected at most 98 (" in caught.value.message
    assert caught.value.message.endswith(f": {home}/run/stackctld.sock")
    command, _, short = caught.value.hint.partition("=")
    assert command == "export STACKCTL_SOCKET"
    check_length(Path(short))


def test_the_longest_socket_that_is_taken_can_be_bound(tmp_path: Path) -> None:
    longest = Path("/tmp/" + "a" * 93)
    check_length(longest)
    with pytest.raises(BadConfig):
        check_length(longest.with_name(longest.name + "a"))

    # As the daemon binds it, with the highest pid of Linux.
    temporary = longest.with_name(f".{longest.name}.4194304")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(temporary))
    temporary.unlink()
