"""A streamed answer is refused as a plain one is: by its status, before its first piece."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Stack, UnixConnection
from tiny_model import write_tokenizer
from tiny_seq2seq import write_graphs
from waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.model]

SEQ2SEQ = """
adapter = "seq2seq"
max_tokens = 8
[options]
start = "[UNK]"
end = "orchard"
"""
RUN = "/v1/models/titles/run"
PATHS = (RUN, "/v1/completions", "/v1/chat/completions")


@pytest.fixture(scope="module")
def stack(fetched_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("titles")
    write_graphs(folder)
    write_tokenizer(folder)
    (folder / "entry.toml").write_text(SEQ2SEQ)
    with Stack(env={"STACKCTL_DEVICES__CPU_SETS": "[[0]]"}) as running:
        running.ok("POST", "/v1/models/import", {"name": "titles", "path": str(folder)})
        running.ok("POST", "/v1/models/titles/load", {"max_queued": 2})
        yield running


def body(path: str, *, stream: bool, **fields: Any) -> dict[str, Any]:
    """A request of a route, with fields of OpenAI's."""
    if path == RUN:
        named = {"max_tokens": "max_new_tokens"}
        options = {named.get(name, name): value for name, value in fields.items()}
        return {"inputs": [{"text": "copper"}], "stream": stream, "options": options}
    if "chat" in path:
        said = [{"role": "user", "content": "copper"}]
        return {"model": "titles", "messages": said, "stream": stream, **fields}
    return {"model": "titles", "prompt": "copper", "stream": stream, **fields}


def begin(stack: Stack, path: str, asked: Any) -> UnixConnection:
    connection = UnixConnection(stack.socket_path, 60)
    connection.request("POST", path, json.dumps(asked))
    return connection


def ask(stack: Stack, path: str, asked: Any) -> tuple[http.client.HTTPResponse, bytes]:
    connection = begin(stack, path, asked)
    try:
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def queued(stack: Stack) -> int:
    [device] = stack.ok("GET", "/v1/devices")["items"]
    return int(device["queued"])


@contextmanager
def halted(stack: Stack) -> Iterator[None]:
    """The worker stands still: what is asked of it waits."""
    [device] = stack.ok("GET", "/v1/devices")["items"]
    os.kill(device["worker_pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(device["worker_pid"], signal.SIGCONT)


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_above_the_models_limit_is_a_429(stack: Stack, path: str) -> None:
    asked = body(path, stream=True)
    with ExitStack() as kept:
        with halted(stack):
            waiting = [begin(stack, path, asked) for _ in range(2)]
            for connection in waiting:
                kept.callback(connection.close)
            until(lambda: queued(stack) == 2, told=lambda: f"{queued(stack)} queued")

            found = [ask(stack, path, asked) for _ in range(6)]
            plain, _ = ask(stack, path, body(path, stream=False))

        statuses = [connection.getresponse().status for connection in waiting]

    assert [answer.status for answer, _ in found] == [429] * 6
    assert plain.status == 429
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in found)
    assert all("application/json" in answer.headers["content-type"] for answer, _ in found)
    assert statuses == [200, 200]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "param"), [({"max_tokens": 100_000}, "max_tokens"), ({"stop": [""]}, "stop")]
)
def test_a_stream_that_asks_for_what_cannot_be_is_a_400(
    stack: Stack, path: str, fields: Any, param: str
) -> None:
    streamed, said = ask(stack, path, body(path, stream=True, **fields))
    plain, also = ask(stack, path, body(path, stream=False, **fields))

    assert (streamed.status, plain.status) == (400, 400)
    told = json.loads(said)["error"]
    assert told["message"] == json.loads(also)["error"]["message"]
    if path != RUN:
        assert told["param"] == param


def test_a_stream_of_a_model_that_gives_its_answer_whole_is_a_400(stack: Stack) -> None:
    asked = {"inputs": [{"text": "copper"}], "stream": True}

    answer, said = ask(stack, "/v1/models/minilm/run", asked)
    unknown, _ = ask(stack, "/v1/models/nonesuch/run", asked)

    assert answer.status == 400
    assert "does not stream" in json.loads(said)["error"]["message"]
    assert unknown.status == 404


@pytest.mark.parametrize("path", PATHS)
def test_a_caller_that_leaves_before_the_first_piece_leaves_nothing(
    stack: Stack, path: str
) -> None:
    with halted(stack):
        waiting = [begin(stack, path, body(path, stream=True)) for _ in range(2)]
        until(lambda: queued(stack) == 2, told=lambda: f"{queued(stack)} queued")

        for connection in waiting:
            connection.close()

        until(lambda: queued(stack) == 0, told=lambda: f"{queued(stack)} still queued")
    [held] = [m for m in stack.ok("GET", "/v1/models/running")["items"] if m["model"] == "titles"]
    assert held["in_use"] == 0
    answer, _ = ask(stack, path, body(path, stream=True))
    assert answer.status == 200
