"""Models that leave this machine and come back, and that go from it, by real daemons."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import Stack
from tiny_model import TABLE, write_graph, write_tokenizer
from waiting import until

TEXTS = ["river copper", "lantern", "orchard river river"]
ENTRY = """
adapter = "text-embedding"
dimensions = 4
max_tokens = 8
licence = "CC0-1.0"
timeout_s = 30.0
max_queued = 64
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a few kilobytes."""
    made = tmp_path / "tiny"
    made.mkdir()
    write_tokenizer(made)
    write_graph(made, pooled=True).rename(made / "model.onnx")
    (made / "entry.toml").write_text(ENTRY)
    return made


def embed(stack: Stack, model: str) -> Any:
    return stack.ok("POST", "/v1/embed", {"texts": TEXTS, "model": model})["vectors"]


@pytest.mark.parametrize("name", ["taken.tar", "taken"])
def test_an_exported_model_runs_on_another_machine(
    bare_stack: Stack, folder: Path, tmp_path: Path, name: str
) -> None:
    assert bare_stack.cli("models", "import", "tiny", str(folder)).returncode == 0
    here = embed(bare_stack, "tiny")
    done = bare_stack.cli("models", "export", "tiny", str(tmp_path / name), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 2
    again = bare_stack.cli("models", "export", "tiny", str(tmp_path / name))
    assert (again.returncode, "exists, expected a name that is free" in again.stderr) == (5, True)

    with Stack(model=False) as other:
        taken = other.cli("models", "import", "tiny", str(tmp_path / name))
        assert taken.returncode == 0, taken.stderr
        assert other.ok("POST", "/v1/models/tiny/verify")["ok"]
        assert embed(other, "tiny") == here


def test_an_exported_model_is_taken_under_a_second_name(
    bare_stack: Stack, folder: Path, tmp_path: Path
) -> None:
    (folder / "entry.toml").write_text(f'{ENTRY}aliases = ["small"]\n')
    assert bare_stack.cli("models", "import", "tiny", str(folder)).returncode == 0
    assert bare_stack.cli("models", "export", "tiny", str(tmp_path / "t.tar")).returncode == 0

    second = bare_stack.cli("models", "import", "second", str(tmp_path / "t.tar"))
    third = bare_stack.cli("models", "import", "third", str(tmp_path / "t.tar"), "--json")

    assert (second.returncode, second.stderr) == (
        0,
        "left out, as they mean something else: small\n",
    )
    assert json.loads(third.stdout)["aliases_taken"] == ["small"]
    assert bare_stack.ok("GET", "/v1/models/small")["name"] == "tiny"
    assert bare_stack.ok("GET", "/v1/models/second")["aliases"] == []
    assert embed(bare_stack, "second") == embed(bare_stack, "tiny")


def test_a_removed_model_leaves_devices_aliases_and_what_was_measured(
    bare_stack: Stack, folder: Path
) -> None:
    stack = bare_stack
    stack.ok("POST", "/v1/models/import", {"name": "tiny", "path": str(folder)})
    stack.ok("POST", "/v1/models/aliases/live", {"model": "tiny"})
    stack.follow_job(stack.ok("POST", "/v1/models/tiny/tune")["id"])
    state = stack.home / "data" / "inference"
    if not state.exists():
        (state,) = stack.home.rglob("inference")
    assert "tiny@" in (state / "budgets.json").read_text()
    why = stack.ok("GET", "/v1/models/tiny/why")
    assert why["devices"][0]["rate_per_s"] > 0
    assert why["measured_bytes"] > 0
    assert why["prediction_error"] == why["predicted_bytes"] / why["measured_bytes"] - 1
    gone = stack.ok("DELETE", "/v1/models/tiny")

    assert gone["loaded_on"] == []
    assert stack.ok("GET", "/v1/models/running")["items"] == []
    assert stack.ok("GET", "/v1/models/aliases")["items"] == []
    for file in ("budgets.json", "memory.json", "rates.json"):
        assert "tiny@" not in (state / file).read_text()
    assert stack.request("POST", "/v1/embed", {"texts": TEXTS, "model": "tiny"})[0] == 404

    # The same name may be another model's at once.
    write_graph(folder, pooled=True, table=TABLE + 1).rename(folder / "model.onnx")
    stack.ok("POST", "/v1/models/import", {"name": "tiny", "path": str(folder)})
    assert embed(stack, "tiny")


def test_requests_under_way_are_answered_before_their_model_is_removed(
    bare_stack: Stack, folder: Path
) -> None:
    stack = bare_stack
    answers: list[int] = []
    stack.ok("POST", "/v1/models/import", {"name": "tiny", "path": str(folder)})
    embed(stack, "tiny")

    def ask() -> None:
        body = {"texts": ["river copper lantern"] * 16, "model": "tiny"}
        for _ in range(50):
            answers.append(stack.request("POST", "/v1/embed", body)[0])

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    until(lambda: len(answers) >= 4)
    removed = stack.request("DELETE", "/v1/models/tiny")
    for thread in asking:
        thread.join()

    assert removed[0] == 200
    # Those that came first were computed, later ones are told that it is gone.
    assert set(answers) == {200, 404}
    assert stack.ok("GET", "/v1/models/running")["items"] == []


def test_doctor_names_an_imported_model_whose_entry_is_damaged(
    bare_stack: Stack, folder: Path
) -> None:
    stack = bare_stack
    for name in ("tiny", "sound"):
        stack.ok("POST", "/v1/models/import", {"name": name, "path": str(folder)})
    (stack.home / "data" / "models" / "tiny" / "entry.toml").write_text("adapter = ")
    found = stack.cli("doctor", "--json")
    findings = [f for f in json.loads(found.stdout)["findings"] if f["check"] == "models"]

    assert found.returncode == 3
    assert [finding["fix"] for finding in findings] == ["stackctl models remove tiny"]
    assert "tiny/entry.toml" in findings[0]["message"]
    assert embed(stack, "sound")
    assert stack.cli("models", "remove", "tiny").returncode == 0
    assert stack.cli("doctor").returncode == 0
