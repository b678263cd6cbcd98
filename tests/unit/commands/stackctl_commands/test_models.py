"""``stackctl models load, unload, ps, why, alias, tune`` against a scripted server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server import MODEL, ControlServer, error, job, script

from stackctl.cli.run import run
from stackctl_commands.index import INDEX

RUNNING = {
    "model": "m",
    "version": "0123456789abcdef",
    "device": "cpu:0",
    "state": "idle",
    "execution_provider": "CPUExecutionProvider",
    "memory_bytes": 64 << 20,
    "load_s": 0.3,
    "used_at": "2026-03-01T10:00:00.000Z",
    "in_use": 0,
    "pinned": True,
    "expires_at": "",
    "batch_budget": 512,
    "replicas": 1,
    "latency_target_ms": 0.0,
    "latency_p95_ms": 0.0,
    "max_queued": 8,
    "timeout_s": 2.0,
    "aliases": ["live"],
}
WHY = {
    "model": "m",
    "needed_bytes": 64 << 20,
    "basis": "measured when it was last loaded",
    "devices": [
        {
            "device": "cuda:0",
            "decision": "refused",
            "reason": "the device does not answer",
            "needed_bytes": 64 << 20,
            "free_bytes": 1 << 53,
            "reclaimable_bytes": 0,
            "queued": 0,
            "rate_per_s": None,
        }
    ],
    "predicted_bytes": 80 << 20,
    "measured_bytes": 64 << 20,
    "prediction_error": 0.25,
    "max_queued": 8,
    "timeout_s": 2.0,
}
ROW = {"budget": 256, "items": 4, "cost": 256, "duration_s": 0.1, "rate_per_s": 2560.0}
TUNED = {
    "model": "m",
    "devices": [{"device": "cpu:0", "budget": 256, "message": "", "rows": [ROW]}],
}


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        (own_home / "run").chmod(0o700)
        script(running)
        yield running


@pytest.fixture
def cli(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments, INDEX)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_load_sends_its_terms_and_shows_the_model(server: ControlServer, cli: Any) -> None:
    asked: list[Any] = []

    def load(body: Any) -> Any:
        asked.append(body)
        return RUNNING

    server.routes["POST", "/v1/models/m/load"] = load

    terms = ["--device", "cpu:0", "--pin", "--ttl", "60", "--max-queued", "8", "--timeout", "2"]
    status, out, _ = cli("models", "load", "m", *terms)

    told = {"device": "cpu:0", "pinned": True, "ttl_s": 60.0, "max_queued": 8, "timeout_s": 2.0}
    assert (status, asked) == (0, [told | {"replicas": None, "latency_target_ms": None}])
    assert "64.0 MiB" in out
    assert "pinned" in out


def test_load_sends_replicas_and_target_and_shows_the_measured_latency(
    server: ControlServer, cli: Any
) -> None:
    asked: list[Any] = []

    def load(body: Any) -> Any:
        asked.append((body["replicas"], body["latency_target_ms"]))
        return RUNNING | {"replicas": 4, "latency_target_ms": 120.0, "latency_p95_ms": 98.7}

    server.routes["POST", "/v1/models/m/load"] = load

    status, out, _ = cli("models", "load", "m", "--replicas", "4", "--latency-target", "120")

    assert (status, asked) == (0, [(4, 120.0)])
    assert "99 of 120 ms" in out


@pytest.mark.parametrize("flag", ["--ttl", "--timeout", "--latency-target"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_load_refuses_what_is_not_finite_before_it_asks(
    server: ControlServer, cli: Any, flag: str, value: str
) -> None:
    status, _, err = cli("models", "load", "m", f"{flag}={value}")

    assert status == 2
    assert f"{value} is not a number, expected a finite one" in err
    assert flag in err
    assert not [path for _, path, _ in server.seen if "load" in path]


def test_a_refusal_says_why_and_what_to_run(server: ControlServer, cli: Any) -> None:
    server.routes["POST", "/v1/models/m/load"] = (
        409,
        error("conflict", "no device has room", "stackctl models why m"),
    )

    status, _, err = cli("models", "load", "m")

    assert status == 5
    assert err.endswith("fix: stackctl models why m\n")


def test_ps_lists_what_devices_hold(server: ControlServer, cli: Any) -> None:
    worker = {
        "device": "cpu:0",
        "worker_pid": 7,
        "memory_bytes": 333 << 20,
        "models_bytes": 64 << 20,
        "above_bytes": 269 << 20,
    }
    server.routes["GET", "/v1/models/running"] = {"items": [RUNNING], "workers": [worker]}

    assert "0123456789abcdef" in cli("models", "ps")[1]
    assert cli("models", "ps")[1].splitlines()[-1].split() == [
        "cpu:0", "333.0", "MiB", "64.0", "MiB", "269.0", "MiB"
    ]  # fmt: skip
    assert json.loads(cli("models", "ps", "--json")[1])["workers"] == [worker]
    [told] = json.loads(cli("models", "ps", "--json")[1])["items"]
    assert (told["batch_budget"], told["max_queued"], told["timeout_s"]) == (512, 8, 2.0)
    server.routes["GET", "/v1/models/running"] = {"items": [], "workers": []}
    assert cli("models", "ps")[2] == "no model is loaded\n"


def test_unload_says_what_came_back(server: ControlServer, cli: Any) -> None:
    gone = {"model": "m", "device": "cpu:0", "memory_bytes": 64 << 20, "recycled": True}
    server.routes["POST", "/v1/models/m/unload"] = {
        "items": [{**gone, "returned_bytes": 70 << 20}]
    }

    _, out, _ = cli("models", "unload", "m")

    assert "had taken 64.0 MiB, 70.0 MiB came back, its worker was ended" in out


def test_why_explains_each_device(server: ControlServer, cli: Any) -> None:
    server.routes["GET", "/v1/models/m/why"] = WHY

    _, out, _ = cli("models", "why", "m")

    assert out.startswith("m needs 64.0 MiB (measured when it was last loaded)")
    assert "predicted before it was first loaded: 80.0 MiB, 25% too much\n" in out
    assert "rate: not measured yet: stackctl models tune m\n" in out
    assert "limits: 8 inputs may wait, a request that says nothing waits 2 s\n" in out
    assert "does not answer" in out


def test_alias_lists_switches_and_forgets(server: ControlServer, cli: Any) -> None:
    live = {"alias": "live", "model": "m", "previous": ""}
    server.routes["GET", "/v1/models/aliases"] = {"items": [live]}
    server.routes["POST", "/v1/models/aliases/live"] = live
    server.routes["DELETE", "/v1/models/aliases/live"] = {**live, "model": ""}

    assert "live" in cli("models", "alias")[1]
    assert cli("models", "alias", "live", "m")[1] == "live means m\n"
    assert cli("models", "alias", "live", "--remove")[1] == "live means nothing\n"


def test_alias_says_what_is_wrong(server: ControlServer, cli: Any) -> None:
    live = {"alias": "live", "model": "m", "previous": ""}
    server.routes["GET", "/v1/models/aliases"] = {"items": [live]}

    unknown, alone, both = (
        cli("models", "alias", *words)
        for words in (["nosuch"], ["--remove"], ["live", "m", "--remove"])
    )

    fix = "fix: stackctl models alias\n"
    assert unknown == (4, "", f'error: no alias "nosuch"\n{fix}')
    assert alone == both == (2, "", f"error: --remove takes the alias alone\n{fix}")
    assert all(method == "GET" for method, _, _ in server.seen)


@pytest.mark.parametrize("words", ["verify", "remove", "unload", "pull", "run", "tune", "export"])
def test_an_empty_name_is_no_models(server: ControlServer, cli: Any, words: str) -> None:
    more = ["/nowhere.tar"] if words == "export" else []

    status, out, err = cli("models", words, "", *more)

    assert (status, out) == (2, "")
    assert err == 'error: "" is not the name of a model\nfix: stackctl models list\n'
    assert [path for _, path, _ in server.seen if path.startswith("/v1/models")] == []


def test_remove_prints_what_the_daemon_removed(server: ControlServer, cli: Any) -> None:
    server.routes["DELETE", "/v1/models/m%3A2"] = {**MODEL, "name": "m:2"}

    assert cli("models", "remove", "m:2")[:2] == (0, "removed m:2\n")
    assert json.loads(cli("models", "remove", "m:2", "--json")[1]) == {"removed": "m:2"}


def test_tune_prints_what_was_measured(server: ControlServer, cli: Any) -> None:
    server.routes["POST", "/v1/models/m/tune"] = (202, job("running", kind="models.tune"))
    server.routes["GET", "/v1/jobs/j1/events"] = [job("running"), job(result=TUNED)]
    server.routes["GET", "/v1/jobs/j1"] = job(result=TUNED)

    status, out, _ = cli("models", "tune", "m")

    assert status == 0
    assert "2560" in out
    assert cli("models", "tune", "m", "--quiet", "--detach")[1] == "j1\n"


def test_devices_show_their_queue(cli: Any) -> None:
    assert "QUEUE" in cli("devices")[1]
