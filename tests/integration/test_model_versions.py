"""Versions of a model on one device: asked by each protocol, and switched under load."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Stack
from tiny_model import TABLE, WIDTH, write_graph, write_tokenizer
from waiting import until

ENTRY = f'adapter = "text-embedding"\ndimensions = {WIDTH}\nmax_tokens = 8\naliases = ["tiny"]\n'


def write_version(folder: Path, version: str) -> Path:
    """A model whose vector of ``river`` tells its version: another axis is turned round."""
    folder.mkdir()
    table = TABLE.copy()
    table[:, {"1": 0, "9": 1, "10": 2}[version]] *= -1
    write_graph(folder, pooled=True, table=table)
    write_tokenizer(folder)
    (folder / "entry.toml").write_text(ENTRY)
    return folder


def signs(vector: Any) -> str:
    """Give the version that a vector of ``river`` is of."""
    turned = np.sign(np.asarray(vector, float).reshape(-1)) * np.sign(TABLE[1]) < 0
    [axis] = np.flatnonzero(turned)
    return ("1", "9", "10")[axis]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    env = {"STACKCTL_DEVICES__CPU_SETS": "[[0]]", "STACKCTL_API__LISTEN": "127.0.0.1:0"}
    with Stack(model=False, env=env) as running:
        for version in ("1", "9", "10"):
            folder = write_version(tmp_path / version, version)
            done = running.cli("models", "import", f"stars:{version}", str(folder))
            assert done.returncode == 0, done.stderr
        yield running


def ask(stack: Stack, model: str) -> str:
    reply = stack.ok("POST", "/v1/embeddings", {"model": model, "input": "river"})
    return signs(reply["data"][0]["embedding"])


def infer(stack: Stack, path: str) -> tuple[str, dict[str, Any]]:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["river"]}
    reply = stack.ok("POST", f"/v2/models/{path}/infer", {"inputs": [tensor]})
    return signs(reply["outputs"][0]["data"]), reply


def test_versions_are_held_and_asked_side_by_side(stack: Stack) -> None:
    asked = {v: ask(stack, f"stars:{v}") for v in ("1", "9", "10")}
    held = stack.ok("GET", "/v1/models/running")["items"]

    assert asked == {v: v for v in asked}
    assert {m["model"] for m in held} == {"stars:1", "stars:9", "stars:10"}
    assert {m["device"] for m in held} == {"cpu:0"}
    # A name by itself is the latest, by any of its names.
    assert {ask(stack, name) for name in ("stars", "tiny")} == {"10"}
    listed = {m["name"] for m in stack.ok("GET", "/v1/models")["items"]}
    assert {"stars:1", "stars:9", "stars:10"} <= listed


def test_run_and_bench_take_the_name_that_versions_share(stack: Stack) -> None:
    ran = stack.cli("models", "run", "stars", "river", "--json")
    measured = stack.cli(
        "models", "bench", "stars", "--concurrency", "1", "--seconds", "0.1", "--json"
    )
    stack.ok("POST", "/v1/models/aliases/stars", {"model": "stars:1"})
    switched = stack.cli("models", "run", "stars", "river", "--json")
    unknown = stack.cli("models", "run", "star", "river")

    assert ran.returncode == 0, ran.stderr
    assert signs(json.loads(ran.stdout)["items"][0]["vector"]) == "10"
    assert json.loads(measured.stdout)["items"][0]["requests"] > 0, measured.stderr
    assert signs(json.loads(switched.stdout)["items"][0]["vector"]) == "1"
    assert (unknown.returncode, 'no model "star" in the catalogue' in unknown.stderr) == (4, True)


def test_the_inference_protocol_tells_and_takes_versions(stack: Stack) -> None:
    described = stack.ok("GET", "/v2/models/stars")
    one = infer(stack, "stars/versions/9")
    latest = infer(stack, "stars")
    index = [row for row in stack.ok("POST", "/v2/repository/index", {}) if row["name"] == "stars"]
    missing, error = stack.request("GET", "/v2/models/stars/versions/7")
    digest = next(
        m["version"]
        for m in stack.ok("GET", "/v1/models/running")["items"]
        if m["model"] == "stars:10"
    )

    assert (described["name"], sorted(described["versions"])) == ("stars", ["1", "10", "9"])
    assert described["versions"][-1] == "10"
    assert (one[0], one[1]["model_name"], one[1]["model_version"]) == ("9", "stars", "9")
    assert (latest[0], latest[1]["model_version"]) == ("10", "10")
    states = {row["version"]: (row["state"], row["reason"]) for row in index}
    assert states == {
        "1": ("UNAVAILABLE", "not loaded yet"), "9": ("READY", ""), "10": ("READY", ""),
    }  # fmt: skip
    assert missing == 404
    assert 'model "stars" has no version 7, only 1, 9, 10' in error["error"]
    assert infer(stack, f"stars/versions/{digest[:8]}")[0] == "10"
    assert stack.request("GET", f"/v2/models/stars/versions/{digest[:4]}")[0] == 404


def test_a_path_with_two_versions_is_refused(stack: Stack) -> None:
    stack.ok("POST", "/v1/models/aliases/live", {"model": "stars:9"})
    stack.ok("POST", "/v1/models/aliases/stars", {"model": "stars:1"})

    def told(path: str) -> tuple[int, str]:
        status, reply = stack.request("GET", f"/v2/models/{path}")
        return status, reply.get("error", reply.get("versions", [""])[-1])

    for name in ("stars:9", "live"):
        assert told(f"{name}/versions/10") == (
            404,
            f'model "{name}" is version 9, not 10: expected the name that versions share, "stars"',
        )
        assert told(f"{name}/versions/9") == (200, "9")
        assert infer(stack, f"{name}/versions/9")[0] == "9"
    assert infer(stack, "stars/versions/10")[0] == infer(stack, "tiny/versions/10")[0] == "10"


def test_a_version_is_switched_under_load_and_nothing_fails(stack: Stack) -> None:
    stack.ok("POST", "/v1/models/aliases/stars", {"model": "stars:1"})
    ended, found, failed = threading.Event(), list[str](), list[Any]()

    def load() -> None:
        while not ended.is_set():
            try:
                found.append(ask(stack, "stars"))
            except (AssertionError, OSError, http.client.HTTPException) as err:
                failed.append(err)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    for version in ("9", "10", "1", "9"):
        before = len(found)
        stack.ok("POST", "/v1/models/aliases/stars", {"model": f"stars:{version}"})
        while len(found) < before + 20 and not failed:
            assert ask(stack, "stars") == version
    ended.set()
    for client in clients:
        client.join()

    assert failed == []
    assert {"1", "9", "10"} == set(found)
    assert found[-1] == "9"


def test_every_command_means_the_same_model_by_a_name(stack: Stack, tmp_path: Path) -> None:
    stack.ok("POST", "/v1/models/aliases/stars", {"model": "stars:1"})
    stack.ok("POST", "/v1/models/aliases/live", {"model": "stars:9"})

    # "tiny" is an alias of every version's entry: the latest.
    for name, version in (("stars", "1"), ("live", "9"), ("tiny", "10"), ("stars:10", "10")):
        model, tar = f"stars:{version}", tmp_path / f"{name}.tar"
        exported = json.loads(stack.cli("models", "export", name, str(tar), "--json").stdout)
        verified = stack.ok("POST", f"/v1/models/{name}/verify")
        why = stack.ok("GET", f"/v1/models/{name}/why")

        told = (ask(stack, name), exported["name"], verified["name"], why["model"])
        assert told == (version, model, model, model)


def test_remove_takes_the_very_name_of_a_model(stack: Stack) -> None:
    before = [m["name"] for m in stack.ok("GET", "/v1/models")["items"]]
    latest = stack.cli("models", "remove", "stars")
    stack.ok("POST", "/v1/models/aliases/stars", {"model": "stars:1"})
    stack.ok("POST", "/v1/models/aliases/live", {"model": "stars:9"})
    refused = {name: stack.cli("models", "remove", name) for name in ("stars", "live", "tiny")}

    assert latest.returncode == 5
    assert '"stars" is the name of versions, 1, 9, 10: expected the very name' in latest.stderr
    assert latest.stderr.endswith("fix: stackctl models remove stars:10\n")
    assert {name: done.returncode for name, done in refused.items()} == dict.fromkeys(refused, 5)
    assert refused["stars"].stderr.endswith("fix: stackctl models remove stars:1\n")
    assert '"live" is another name of model "stars:9"' in refused["live"].stderr
    assert refused["live"].stderr.endswith("fix: stackctl models remove stars:9\n")
    assert [m["name"] for m in stack.ok("GET", "/v1/models")["items"]] == before
    done = stack.cli("models", "remove", "stars:9")
    assert (done.returncode, done.stdout) == (0, "removed stars:9\n")
    assert stack.cli("models", "remove", "nosuch").returncode == 4


def test_a_name_that_means_something_else_is_no_models(stack: Stack, tmp_path: Path) -> None:
    stack.ok("POST", "/v1/models/aliases/run", {"model": "stars:9"})
    listed = stack.ok("GET", "/v1/models")

    def refused(name: str) -> tuple[int, str]:
        done = stack.cli("models", "import", name, str(tmp_path / "1"))
        return done.returncode, done.stderr

    # The default model's own aliases and name, and what paths and users say.
    assert refused("running")[0] == refused("default")[0] == 2
    assert refused("minilm") == (
        5,
        'error: "minilm" is an alias of model "all-minilm-l6-v2", expected a name that is free\n'
        f"fix: stackctl models import my-minilm {tmp_path / '1'}\n",
    )
    assert refused("run") == (
        5,
        'error: "run" is an alias of model "stars:9", expected a name that is free\n'
        "fix: stackctl models alias run --remove\n",
    )
    assert refused("stars")[0] == refused("magika:2")[0] == 5
    assert stack.ok("GET", "/v1/models") == listed
    assert stack.request("POST", "/v1/models/aliases/running", {"model": "stars:9"})[0] == 400
    # An alias may be what a path says after a model's name.
    assert ask(stack, "run") == "9"


def test_removing_the_latest_leaves_the_one_before(stack: Stack) -> None:
    assert ask(stack, "stars") == "10"
    assert stack.cli("models", "remove", "stars:10").returncode == 0

    def gone() -> bool:
        """For a second a model's files are believed to be unchanged."""
        return ask(stack, "stars") == "9"

    until(gone)
    reply = stack.ok("POST", "/v1/embed", {"texts": ["river"], "model": "stars:9"})
    vector = np.frombuffer(base64.b64decode(reply["vectors"]), "<f4")
    assert (reply["model"], signs(vector)) == ("stars:9", "9")
