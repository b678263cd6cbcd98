from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stackctl.cli.output import Mode, Output, make
from stackctl.cli.table import Column
from stackctl.client.view import decode

NAMES = [
    Column("NAME", lambda m: m.name),
    Column("SIZE", lambda m: f"{m.size} B", lambda m: m.size),
]
ITEMS = decode('[{"name": "a", "size": 10}, {"name": "b\\u001b[31m", "size": 2}]')


def _printed(mode: Mode) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(mode, out=out, err=err), out, err


def test_a_list_is_an_object_in_json() -> None:
    output, out, _ = _printed("json")
    output.items(ITEMS, NAMES, empty="none")

    assert json.loads(out.getvalue())["items"][0] == {"name": "a", "size": 10}


def test_plain_lists_have_raw_values_between_tabs_and_no_head() -> None:
    output, out, _ = _printed("plain")
    output.items(ITEMS, NAMES, empty="none")

    assert out.getvalue() == "a\t10\nb [31m\t2\n"


def test_quiet_lists_are_names() -> None:
    output, out, _ = _printed("quiet")
    output.items(ITEMS, NAMES, empty="none")

    assert out.getvalue() == "a\nb [31m\n"


def test_an_empty_list_says_so_on_stderr() -> None:
    output, out, err = _printed("text")
    output.items([], NAMES, empty="none yet")

    assert (out.getvalue(), err.getvalue()) == ("", "none yet\n")


def test_an_empty_list_is_an_empty_list_in_json() -> None:
    output, out, err = _printed("json")
    output.items([], NAMES, empty="none yet")

    assert (json.loads(out.getvalue()), err.getvalue()) == ({"items": []}, "")


def test_plain_records_are_flat() -> None:
    output, out, _ = _printed("plain")
    output.show(
        decode('{"a": {"b": 1}, "c": [{"d": "x\\ny"}], "e": null, "f": true}'), lambda _: []
    )

    assert out.getvalue() == "a.b\t1\nc.0.d\tx y\ne\t\nf\ttrue\n"


def test_quiet_records_print_their_id_alone() -> None:
    output, out, _ = _printed("quiet")
    output.show(decode('{"id": "j"}'), lambda _: ["much"], quiet=lambda r: [r.id])
    output.show(decode('{"id": "j"}'), lambda _: ["much"])

    assert out.getvalue() == "j\n"


def test_notes_are_for_people() -> None:
    for mode in ("json", "plain", "quiet"):
        output, out, err = _printed(mode)
        output.note("hello")
        assert out.getvalue() == err.getvalue() == ""


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "no_color", "coloured"),
    [
        ({}, False, True),
        ({"NO_COLOR": "yes"}, False, False),
        ({"NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
        ({}, True, False),
    ],
)
def test_colours_follow_the_terminal_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], no_color: bool, coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))

    output = make("text", no_color=no_color)

    assert output.colour is coloured
    assert output.width is not None
    assert output.style("x", "red") == ("\x1b[31mx\x1b[0m" if coloured else "x")


def _run(redirected: str, own_home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shell = f'exec "$0" -m stackctl "$@" {redirected}'
    command = ["sh", "-c", shell, sys.executable, *arguments]
    del own_home  # the environment names it
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [("config", "show"), ("completion", "bash")])
def test_a_full_disk_below_stdout_is_an_error_of_one_line(
    own_home: Path, arguments: tuple[str, ...]
) -> None:
    ended = _run(">/dev/full", own_home, *arguments)

    assert ended.returncode == 1
    assert ended.stderr == (
        "error: the answer could not be written to stdout: No space left on device\nfix: df -h .\n"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_the_caller_closed_take_the_answer_nowhere(
    own_home: Path, closed: str
) -> None:
    ended = _run(closed, own_home, "config", "path")

    assert ended.returncode == 0
    assert ended.stderr == ""
