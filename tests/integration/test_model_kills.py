"""Models' files against SIGKILL, and against another change of the same model: real daemons."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from harness import Stack, UnixConnection
from model_source import Server, entry, serving
from waiting import until

from stackctl_daemon.models.catalogue import to_toml

BLOCK = os.urandom(1 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 256 MB, so that there is a middle to be killed in."""
    made = tmp_path / "large"
    made.mkdir()
    with (made / "model.onnx").open("wb") as file:
        for _ in range(256):
            file.write(BLOCK)
    (made / "entry.toml").write_text('adapter = "tensor-graph"\n')
    return made


@contextmanager
def asking(ask: Callable[[], Any]) -> Iterator[None]:
    """Let a request run whose daemon may be killed meanwhile."""

    def run() -> None:
        with suppress(OSError):
            ask()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".[!.]*")) if folder.exists() else []


def test_a_killed_import_export_and_removal_leave_nothing_for_long(
    bare_stack: Stack, folder: Path, tmp_path: Path
) -> None:
    stack, store = bare_stack, bare_stack.home / "data" / "models"
    asked = {"name": "large", "path": str(folder)}
    with asking(lambda: stack.request("POST", "/v1/models/import", asked)):
        until(lambda: hidden(store))
        stack.kill9()
    assert hidden(store)
    assert not (store / "large").exists()
    stack.start()
    assert hidden(store) == []
    stack.ok("POST", "/v1/models/import", asked)

    out = tmp_path / "out"
    out.mkdir()
    target = {"path": str(out / "large.tar")}
    with asking(lambda: stack.request("POST", "/v1/models/large/export", target)):
        until(lambda: hidden(out))
        stack.kill9()
    assert [path.name for path in out.iterdir()] == [path.name for path in hidden(out)]
    stack.start()
    stack.ok("POST", "/v1/models/large/export", target)
    assert [path.name for path in out.iterdir()] == ["large.tar"]

    # Files enough that their removal takes a while.
    for n in range(20_000):
        (store / "large" / f"x{n}").touch()
    with asking(lambda: stack.request("DELETE", "/v1/models/large")):
        until(lambda: hidden(store))
        stack.kill9()
    assert hidden(store)
    stack.start()
    assert hidden(store) == []
    assert not (store / "large").exists()


def test_an_import_whose_asker_went_leaves_nothing(bare_stack: Stack, folder: Path) -> None:
    """As after Ctrl-C: the connection is closed in the middle."""
    stack, store = bare_stack, bare_stack.home / "data" / "models"
    connection = UnixConnection(stack.socket_path, 60)
    body = json.dumps({"name": "large", "path": str(folder)})
    connection.request(
        "POST", "/v1/models/import", body=body, headers={"Content-Type": "application/json"}
    )
    until(lambda: hidden(store))
    connection.close()
    until(lambda: not hidden(store))

    assert not (store / "large").exists()
    assert [m["name"] for m in stack.ok("GET", "/v1/models")["items"] if m["imported"]] == []
    # Nobody holds its name any more.
    stack.ok("POST", "/v1/models/import", {"name": "large", "path": str(folder)})


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def test_a_model_is_neither_removed_nor_imported_while_it_is_pulled(
    bare_stack: Stack, server: Server, tmp_path: Path
) -> None:
    stack = bare_stack
    catalogue = stack.home / "config" / "models"
    catalogue.mkdir(parents=True, exist_ok=True)
    (catalogue / "tiny.toml").write_text(to_toml(entry(f"https:{server.url}/NAME")))
    server.hold = threading.Event()
    job = stack.ok("POST", "/v1/models/tiny/pull")["id"]
    store = stack.home / "data" / "models" / "tiny"
    until(lambda: any(store.glob("*.part")))
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"a graph")
    refusals = [
        stack.request("DELETE", "/v1/models/tiny"),
        stack.request("POST", "/v1/models/import", {"name": "tiny", "path": str(source)}),
    ]
    server.hold.set()

    for status, answer in refusals:
        assert status == 409, answer
        assert f"is being pulled by job {job}" in answer["error"]["message"]
        assert answer["error"]["hint"] == f"stackctl jobs cancel {job}"
    assert stack.follow_job(job)["state"] == "succeeded"
    assert stack.ok("DELETE", "/v1/models/tiny")["name"] == "tiny"
