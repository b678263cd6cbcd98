"""Every command against a scripted server on a real socket: status, stdout and requests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import COLLECTION, INDEXED, MODEL, ControlServer, error, job, script

from stackctl.cli.run import run
from stackctl_commands.index import INDEX


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        (own_home / "run").chmod(0o700)
        script(running)
        yield running


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = run(arguments, INDEX)
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err


@pytest.fixture
def cli(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_up_finds_the_daemon_running(cli: Cli) -> None:
    status, out, err = cli("up")

    assert (status, err) == (0, "")
    assert out.startswith("running  stackctl ")
    assert "pid 4242, target all, up 1 min 5 s" in out


def test_up_does_not_start_what_it_may_not(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = Cli(capsys)("up", "--no-start")

    assert (status, out) == (69, "")
    assert "the daemon is not running" in err
    assert err.endswith("fix: stackctl up\n")
    assert not (own_home / "run" / "stackctld.sock").exists()


def test_status_shows_every_section(cli: Cli) -> None:
    status, out, err = cli("status")

    assert (status, err) == (0, "")
    for part in (
        "areas    search ready, analytics degraded",
        "analytics: store is corrupt",
        "cpu:0",
        "CPUExecutionProvider",
        "/d (watched)",
        "request search.query      7       1  12 ms  50 ms  70 ms",
        "120 events stored, 3 pending",
        "no jobs are running",
    ):
        assert part in out


def test_status_in_json_is_the_daemons_own(cli: Cli) -> None:
    status, out, _ = cli("status", "--json")

    assert status == 0
    assert json.loads(out)["summary"]["rows"][0]["p99_s"] == 0.07


def test_index_waits_and_names_what_was_left_out(
    cli: Cli, server: ControlServer, tmp_path: Path
) -> None:
    status, out, _ = cli("index", str(tmp_path), "--collection", "work", "--watch")

    assert status == 0
    assert "2 indexed, 1 unchanged, 0 removed; 9 chunks in 1.25 s" in out
    assert out.endswith('next: stackctl search "your question" --collection work\n')
    assert "/d/huge.bin: binary" in out
    assert "/d/broken.pdf: not a PDF" in out
    body = {"paths": [str(tmp_path)], "collection": "work", "watch": True, "force": False}
    assert ("POST", "/v1/index", body) in server.seen


def test_index_of_an_empty_folder_offers_no_search(
    cli: Cli, server: ControlServer, tmp_path: Path
) -> None:
    empty = job(result={"indexed": 0, "unchanged": 0, "removed": 0, "chunks": 0})
    server.routes["GET", "/v1/jobs/j1/events"] = [empty]

    status, out, _ = cli("index", str(tmp_path))

    assert status == 0
    assert "0 indexed" in out
    assert "next:" not in out


def test_index_detached_prints_the_job(cli: Cli, tmp_path: Path) -> None:
    assert cli("index", str(tmp_path), "--detach", "--quiet") == (0, "j1\n", "")
    assert "stackctl jobs watch j1" in cli("index", str(tmp_path), "--detach")[1]


def test_the_daemon_says_what_to_do_about_a_path_that_is_gone(
    cli: Cli, server: ControlServer
) -> None:
    fix = "stackctl index --remove /no/such/folder"
    server.routes["POST", "/v1/index"] = (404, error("not_found", "path not found", fix))

    status, _, err = cli("index", "/no/such/folder")

    assert (status, err) == (4, f"error: path not found\nfix: {fix}\n")
    # Nothing is fetched for it.
    assert [path for _, path, _ in server.seen] == ["/v1/index"]


def test_index_remove_says_what_is_forgotten(cli: Cli, server: ControlServer) -> None:
    paths = [
        {"path": "/gone", "documents": 2, "source_above": None},
        {"path": "/d/old", "documents": 1, "source_above": "/d"},
    ]
    ended = job(result={"removed": 3, "paths": paths, "elapsed_s": 0.1})
    server.routes["POST", "/v1/index/remove"] = (202, job("running"))
    server.routes["GET", "/v1/jobs/j1/events"] = [ended]

    status, out, _ = cli("index", "--remove", "/gone/", "/d/../d/old", "-c", "work")
    machine = cli("index", "--remove", "/gone", "--json")[1]

    assert status == 0
    assert out == (
        "removed  3 documents; the files stay\n"
        "  /gone: 2\n"
        "  /d/old: 1\n"
        "    the next index of /d reads again what is still there\n"
    )
    body = {"paths": ["/gone", "/d/old"], "collection": "work"}
    assert ("POST", "/v1/index/remove", body) in server.seen
    assert json.loads(machine)["result"]["removed"] == 3


def test_index_remove_of_nothing_is_not_found(cli: Cli, server: ControlServer) -> None:
    nothing = error("not_found", 'collection "default" holds nothing of "/x"', "stackctl index /x")
    server.routes["POST", "/v1/index/remove"] = (404, nothing)

    assert cli("index", "--remove", "/x")[0] == 4


@pytest.mark.parametrize("option", ["--watch", "--no-watch", "--force"])
def test_index_remove_stands_alone(cli: Cli, server: ControlServer, option: str) -> None:
    status, _, err = cli("index", "--remove", option, "/x")

    assert status == 2
    assert option in err
    assert server.seen == []


def test_names_that_are_not_utf8_travel(cli: Cli, server: ControlServer, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(name).mkdir()

    cli("index", name)
    cli("search", "x", "--path", name)

    sent = {path: body for _, path, body in server.seen}
    assert sent["/v1/index"]["paths"] == [f"file://{tmp_path}/caf%E9"]
    assert sent["/v1/search"]["path"] == f"{tmp_path}/caf\\xe9"


def test_an_absent_model_is_pulled_first(cli: Cli, server: ControlServer, tmp_path: Path) -> None:
    server.routes["GET", "/v1/models/default"] = {**MODEL, "state": "absent"}

    status, _, err = cli("index", str(tmp_path))

    assert status == 0
    assert "fetching the model all-minilm-l6-v2" in err
    order = [path for method, path, _ in server.seen if method == "POST"]
    assert order == ["/v1/models/default/pull", "/v1/index"]


def test_search_prints_cited_hits(cli: Cli, server: ControlServer) -> None:
    status, out, _ = cli("search", "rotate", "keys", "-n", "3", "--type", "markdown")

    assert status == 0
    assert " 1. /d/keys.md:12  Keys > Rotation" in out
    sent = server.seen[-1][2]
    assert (sent["query"], sent["limit"], sent["type"]) == ("rotate keys", 3, "markdown")


def test_search_for_programs(cli: Cli) -> None:
    assert json.loads(cli("search", "x", "--json")[1])["hits"][0]["citation"]["line_start"] == 12
    assert cli("search", "x", "--quiet")[1] == "/d/keys.md:12\n"
    assert cli("search", "x", "--plain")[1].split("\t")[:3] == ["1", "0.500000", "/d/keys.md:12"]


def test_search_by_keyword_needs_no_model(cli: Cli, server: ControlServer) -> None:
    assert cli("search", "x", "--mode", "keyword")[0] == 0
    assert [path for _, path, _ in server.seen] == ["/v1/search"]


def test_an_error_of_the_daemon_ends_with_its_status(cli: Cli, server: ControlServer) -> None:
    server.routes["POST", "/v1/search"] = (
        404,
        error("not_found", 'no collection "nope"', "stackctl index PATH --collection nope"),
    )

    status, out, err = cli("search", "x", "--collection", "nope")

    assert (status, out) == (4, "")
    assert err == ('error: no collection "nope"\nfix: stackctl index PATH --collection nope\n')


def test_models(cli: Cli, tmp_path: Path) -> None:
    assert "86.8 MiB" in cli("models", "list")[1]
    assert cli("models", "list", "--plain")[1].split("\t")[3] == "91000000"
    assert "succeeded" in cli("models", "pull", "default")[1]
    assert cli("models", "pull", "--quiet", "--detach")[1] == "j1\n"
    assert cli("models", "verify", "all-minilm-l6-v2")[0] == 0
    assert cli("models", "remove", "all-minilm-l6-v2")[1] == "removed all-minilm-l6-v2\n"
    assert "imported mine" in cli("models", "import", "mine", str(tmp_path))[1]


def test_a_damaged_model_is_a_finding(cli: Cli, server: ControlServer) -> None:
    server.routes["POST", "/v1/models/all-minilm-l6-v2/verify"] = {
        "name": "all-minilm-l6-v2",
        "ok": False,
        "problems": ["tokenizer.json: wrong size"],
    }

    status, out, _ = cli("models", "verify", "all-minilm-l6-v2")

    assert status == 3
    assert "tokenizer.json: wrong size" in out
    assert "fix: stackctl models pull all-minilm-l6-v2" in out


def test_devices(cli: Cli) -> None:
    status, out, err = cli("devices")

    assert status == 0
    assert "1.0 GiB / 8.0 GiB" in out
    assert err == "note: no NVIDIA driver\n"
    assert json.loads(cli("devices", "--json")[1])["problems"] == ["no NVIDIA driver"]


def test_jobs(cli: Cli) -> None:
    assert "index 3 paths" in cli("jobs", "list")[1]
    assert "3/3 files" in cli("jobs", "show", "j1")[1]
    assert "indexed    2" in cli("jobs", "watch", "j1")[1]
    assert cli("jobs", "cancel", "j1")[1] == "job j1: cancelled\n"


def test_watching_in_json_gives_json_lines(cli: Cli) -> None:
    lines = cli("jobs", "watch", "j1", "--json")[1].splitlines()

    assert [json.loads(line)["state"] for line in lines] == ["running", "succeeded"]
    assert json.loads(lines[-1])["result"] == INDEXED


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_watched_job_that_fails_is_the_failure_of_the_command(
    cli: Cli, server: ControlServer, options: tuple[str, ...]
) -> None:
    failed = job("failed", error_code="not_found", error_message="no model", error_hint="pull it")
    server.routes["GET", "/v1/jobs/j1/events"] = [job("running"), failed]

    status, _, err = cli("jobs", "watch", "j1", *options)

    assert status == 4
    assert "no model" in err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_watch_that_the_daemon_breaks_off_says_how_to_go_on(
    cli: Cli, server: ControlServer, options: tuple[str, ...]
) -> None:
    ending = {"error": {"code": "unreachable", "message": "stackctld is ending", "hint": ""}}
    server.routes["GET", "/v1/jobs/j1/events"] = [job("running"), ending]

    status, _, err = cli("jobs", "watch", "j1", *options)

    assert status == 69
    assert "the daemon ended while job j1 was running" in err
    assert "stackctl jobs watch j1" in err


def test_logs(cli: Cli, own_home: Path) -> None:
    assert cli("logs")[0] == 4
    log = own_home / "state" / "stackctld.log"
    log.parent.mkdir(parents=True)
    log.write_text('{"time": "t", "level": "INFO", "message": "ready"}\n' * 3)

    assert cli("logs", "-n", "2")[1].count("ready") == 2
    assert json.loads(cli("logs", "-n", "1", "--json")[1])["message"] == "ready"


def test_doctor_finds_what_is_degraded_and_repairs_it(cli: Cli, server: ControlServer) -> None:
    status, out, _ = cli("doctor", "--repair")

    assert status == 3
    assert "repaired analytics: rebuilt it" in out
    assert "fix: stackctl doctor --repair" in out


def test_config(cli: Cli, own_home: Path) -> None:
    assert "[inference]" in cli("config", "show")[1]
    assert json.loads(cli("config", "show", "--daemon", "--json")[1])["sources"] == ["defaults"]
    assert cli("config", "path")[1] == f"{own_home}/config/stackctl.toml\n"
    assert cli("config", "check")[0] == 0
    assert cli("config", "reload")[1] == "reloaded: defaults, /c.toml\n"


def test_a_wrong_configuration_is_named_with_its_line(cli: Cli, own_home: Path) -> None:
    file = own_home / "config" / "stackctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[search]\nrrf_k = 'much'\n")

    status, _, err = cli("config", "check")

    assert status == 78
    assert f"{file}:2" in err


def test_what_config_show_prints_can_be_read_back(cli: Cli, own_home: Path) -> None:
    shown = cli("config", "show")[1]
    file = own_home / "config" / "stackctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text(shown)

    assert cli("config", "show")[1].split("\n", 1)[1] == shown.split("\n", 1)[1]


def test_completion_prints_the_script(cli: Cli) -> None:
    status, out, _ = cli("completion", "bash")

    assert status == 0
    assert "complete -F _stackctl stackctl" in out


def test_demo_indexes_real_files_and_searches(cli: Cli, server: ControlServer) -> None:
    status, out, err = cli("demo")

    assert status == 0
    assert " 1. /d/keys.md:12" in out
    assert "stackctl status" in err
    body = next(body for _, path, body in server.seen if path == "/v1/index")
    assert body["collection"] == "demo"
    assert 10 <= len(body["paths"]) <= 40
    assert all(Path(path).is_file() for path in body["paths"])


def test_down_without_a_daemon_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert Cli(capsys)("down") == (0, "the daemon was not running\n", "")


def test_a_failed_job_is_the_commands_failure(
    cli: Cli, server: ControlServer, tmp_path: Path
) -> None:
    server.routes["GET", "/v1/jobs/j1/events"] = [
        job("failed", error_code="disk_full", error_message="no space left", error_hint="df -h")
    ]

    assert cli("index", str(tmp_path)) == (1, "", "error: no space left\nfix: df -h\n")


@pytest.mark.parametrize("arguments", [("-v", "status"), ("status", "--verbose")])
def test_verbose_says_on_stderr_what_was_asked_and_how_long_it_took(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    quiet = cli("status")[1]

    status, out, err = cli(*arguments)

    assert (status, out) == (0, quiet)
    connected, asked = err.splitlines()
    assert re.fullmatch(r"stackctl: connected to .*/stackctld\.sock in [\d.]+ ms", connected)
    assert re.fullmatch(r"stackctl: GET /v1/status: 200 in [\d.]+ ms", asked)


def test_collections_are_listed(cli: Cli) -> None:
    status, out, _ = cli("collections", "list")

    assert status == 0
    assert out.splitlines()[1].split()[:3] == ["default", "3", "9"]
    assert out.rstrip().endswith("/d (watched)")
    assert cli("collections", "list", "--quiet")[1] == "default\n"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "-"),
        (2, "/folder/0, /folder/1 (watched)"),
        (3, "/folder/0, /folder/1 (watched), /folder/2"),
        (5, "/folder/0, /folder/1 (watched), /folder/2, 2 more with --json"),
    ],
)
def test_a_collection_shows_the_paths_it_was_fed_from(
    cli: Cli, server: ControlServer, count: int, shown: str
) -> None:
    folders = [f"/folder/{n}" for n in range(count)]
    sources = [{"path": path, "watched": path == "/folder/1"} for path in folders]
    server.routes["GET", "/v1/collections"] = {"items": [COLLECTION | {"sources": sources}]}

    head, row = cli("collections", "list")[1].splitlines()

    assert row[head.index("SOURCES") :] == shown
    every = json.loads(cli("collections", "list", "--json")[1])
    assert every["items"][0]["sources"] == sources
    plain = cli("collections", "list", "--plain")[1].rstrip("\n").split("\t")[-1]
    assert plain == ", ".join(folders)


def test_a_collection_is_removed(cli: Cli, server: ControlServer) -> None:
    status, out, err = cli("collections", "remove", "default")

    assert (status, out, err) == (0, "removed default\n", "")
    assert server.seen[-1][:2] == ("DELETE", "/v1/collections/default")
