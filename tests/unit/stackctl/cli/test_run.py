from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from environment import others_run_python, unmeasured

from stackctl.cli.run import run
from stackctl.errors import Denied
from stackctl_commands.index import INDEX


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run(arguments, INDEX)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize(
    ("arguments", "message", "fix"),
    [
        (["serch"], 'no such command "serch"; did you mean "search"?', "stackctl --help"),
        (["jobs", "lst"], 'no such command "lst"; did you mean "list"?', "stackctl jobs --help"),
        (
            ["search", "--mdoe", "x", "y"],
            'no such option "--mdoe"; did you mean "--mode"?',
            "stackctl search --help",
        ),
        (
            ["status", "--jsno"],
            'no such option "--jsno"; did you mean "--json"?',
            "stackctl status --help",
        ),
        (["up", "--bogus"], 'no such option "--bogus"', "stackctl up --help"),
        (["status", "--no"], 'no such option "--no"', "stackctl status --help"),
        (
            ["status", "--verbos"],
            'no such option "--verbos"; did you mean "--verbose"?',
            "stackctl status --help",
        ),
        (
            ["search", "x", "--limit", "many"],
            'invalid value for "--limit" / "-n": "many" is not a whole number from 1 to 100',
            "stackctl search --help",
        ),
        (
            ["search", "x", "--limit", "0"],
            'invalid value for "--limit" / "-n": "0" is not a whole number from 1 to 100',
            "stackctl search --help",
        ),
        (
            ["logs", "-n", "-1"],
            'invalid value for "--lines" / "-n": "-1" is not a whole number of at least 0',
            "stackctl logs --help",
        ),
        (
            ["completion"],
            'missing argument "shell", expected "bash", "zsh" or "fish"',
            "stackctl completion --help",
        ),
        (["bogus"], 'no such command "bogus"', "stackctl --help"),
        (["doc"], 'no such command "doc"; did you mean "doctor"?', "stackctl --help"),
        (["search"], 'missing argument "QUERY..."', "stackctl search --help"),
        (
            ["--json", "--plain", "status"],
            None,
            None,
        ),
    ],
)
def test_usage_errors_are_two_lines_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str | None, fix: str | None
) -> None:
    status, out, err = _run(capsys, *arguments)

    assert (status, out) == (2, "")
    if message is not None:
        assert err == f"error: {message}\nfix: {fix}\n"


def test_errors_are_json_on_stderr_under_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _run(capsys, "status", "--json", "--no-start")

    assert (status, out) == (69, "")
    shape = json.loads(err)["error"]
    assert (shape["code"], shape["hint"], shape["exit_code"]) == ("unreachable", "stackctl up", 69)


def test_the_environment_forbids_a_start_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_NO_START", "1")

    assert _run(capsys, "status")[0] == 69


@pytest.mark.parametrize("arguments", [[], ["-h"], ["models"], ["models", "--help"], ["up", "-h"]])
def test_help_is_an_answer(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, out, err = _run(capsys, *arguments)

    assert (status, err) == (0, "")
    assert out.startswith("Usage: stackctl")


def test_version_works_among_other_flags(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "--json", "--version")

    assert status == 0
    assert out.startswith("stackctl ")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """An index with commands that end badly."""
    (tmp_path / "broken_commands.py").write_text(
        "from stackctl.cli.group import group\n"
        "from stackctl.errors import Denied\n"
        "app = group('x')\n"
        "@app.command()\n"
        "def bug():\n    raise RuntimeError('boom')\n"
        "@app.command()\n"
        "def denied():\n    raise Denied('no entry', hint='id')\n"
        "@app.command()\n"
        "def interrupt():\n    raise KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return {"x": ("broken_commands", "x")}


def test_every_way_to_end_has_its_status(
    capsys: pytest.CaptureFixture[str], broken: dict[str, tuple[str, str]]
) -> None:
    assert run(["x", "bug"], broken) == 70
    assert run(["x", "denied"], broken) == 6
    assert run(["x", "interrupt"], broken) == 130
    assert capsys.readouterr().err == (
        "error: RuntimeError: boom\nfix: stackctl --debug x bug\n"
        "error: no entry\nfix: id\n"
        "error: interrupted\n"
    )


def test_debug_shows_the_traceback(broken: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(RuntimeError, match="boom"):
        run(["x", "bug", "--debug"], broken)
    with pytest.raises(Denied):
        run(["x", "denied", "--debug"], broken)


def test_a_reader_that_leaves_is_no_error() -> None:
    program = (
        "import os, sys\n"
        "from stackctl.cli.run import run\n"
        "from stackctl_commands.index import INDEX\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "sys.exit(run(['config', 'show'], INDEX))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_help_opens_no_client() -> None:
    code = (
        "import sys; sys.argv = ['stackctl', '--help']\n"
        "from stackctl.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "late = {'tempfile', 'socket', 'stackctl.client.transport', 'rich', 'msgspec'}\n"
        "print(sorted(late & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unmeasured()
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["--json", "--version"]])
def test_a_closed_stdout_is_no_error(arguments: list[str]) -> None:
    assert _shell(arguments, ">&-") == (0, "")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["search", "--help"]])
def test_a_full_disk_under_stdout_is_told(arguments: list[str]) -> None:
    status, err = _shell(arguments, ">/dev/full")

    said = "error: the answer could not be written to stdout: No space left on device"
    assert (status, err) == (1, f"{said}\nfix: df -h .\n")


def _shell(arguments: list[str], redirection: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "stackctl", *arguments]
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=unmeasured(),
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not others_run_python(), reason="needs a second user who can run Python")
@pytest.mark.parametrize("by", ["STACKCTL_HOME", "XDG_STATE_HOME"])
@pytest.mark.parametrize("command", ["doctor", "logs"])
def test_another_users_home_is_denied(by: str, command: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sc", dir="/tmp") as home:
        os.mkdir(f"{home}/state", 0o700)  # noqa: PTH102
        env = unmeasured() | {"NO_COLOR": "1", "HOME": home}
        env.pop("STACKCTL_HOME")
        done = subprocess.run(
            [sys.executable, "-m", "stackctl", command],
            capture_output=True,
            text=True,
            check=False,
            env=env | {by: home},
            user=65534,
            cwd="/",
        )

    if by == "STACKCTL_HOME":
        assert done.stderr.startswith(f"error: {by}={home} may not be entered by user 65534")
        assert (done.returncode, done.stderr.splitlines()[1]) == (6, f"fix: unset {by}")
    elif command == "logs":
        log = f"{home}/stackctl/stackctld.log"
        said = f"error: {log} may not be opened by user 65534\nfix: ls -ld {log}\n"
        assert (done.returncode, done.stderr) == (6, said)
    else:
        assert done.returncode == 3, done.stderr
        assert f"{home} may not be written by this user" in done.stdout


def test_a_file_where_a_folder_is_needed_is_no_bug(
    capsys: pytest.CaptureFixture[str], own_home: Path
) -> None:
    own_home.mkdir()
    (own_home / "state").touch()

    status, _, err = _run(capsys, "logs")

    state = own_home / "state"
    said = f"error: {state}/stackctld.log: {state} is no folder\nfix: ls -ld {state}\n"
    assert (status, err) == (1, said)
