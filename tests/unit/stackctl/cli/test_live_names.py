from __future__ import annotations

from pathlib import Path

import pytest
from control_server import ControlServer, script

from stackctl.cli.live_names import complete


def test_commands_need_no_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    complete(["commands", "s"])

    assert capsys.readouterr().out == "search\nstatus\n"


def test_live_names_come_from_the_daemon(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        for kind in ("models", "collections", "jobs"):
            complete([kind, ""])

    assert capsys.readouterr().out == "all-minilm-l6-v2\nminilm\ndefault\nj1\n"


def test_a_model_is_offered_by_the_name_of_its_versions_and_by_aliases(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        script(server)
        [model] = server.routes["GET", "/v1/models"]["items"]
        versions = [{**model, "name": f"mine:{n}", "aliases": ["best"]} for n in (1, 2)]
        server.routes["GET", "/v1/models"] = {"items": versions}
        complete(["models", ""])

    assert capsys.readouterr().out == "best\nmine\nmine:1\nmine:2\n"


@pytest.mark.parametrize("arguments", [["models", ""], ["nonsense", "x"], [], ["jobs"]])
def test_failure_is_silent(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    complete(arguments)

    assert capsys.readouterr() == ("", "")


def test_an_answer_of_another_shape_is_silent(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        server.routes["GET", "/v1/jobs"] = {"other": 1}
        complete(["jobs", ""])

    assert capsys.readouterr() == ("", "")
