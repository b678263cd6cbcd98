"""Completions through a real daemon to an engine: a stand-in process that speaks its protocol."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from harness import Stack

openai = pytest.importorskip("openai", reason="the test extra has it")


class Site(NamedTuple):
    """A daemon before an engine."""

    port: int
    engine: int
    token: str

    def post(self, body: Any, path: str = "/v1/chat/completions") -> Any:
        """Send a request and give the connection, with the answer still to be read."""
        found = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        fields = {"Authorization": f"Bearer {self.token}"}
        found.request("POST", path, json.dumps(body).encode(), fields)
        return found

    def status(self, body: Any) -> tuple[int, dict[str, str], Any]:
        connection = self.post(body)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(raw)

    def engine_says(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.engine, timeout=30)
        connection.request(method, path, b"{}")
        reply = json.loads(connection.getresponse().read())
        connection.close()
        return reply


@pytest.fixture(scope="module")
def site(engine: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("engine-key\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    upstreams = [
        f"llama=http://127.0.0.1:{engine}",
        f"deep=http://127.0.0.1:{engine}/engines/v1/",
        f"away=http://127.0.0.1:{nobody}",
    ]
    settings = {
        "STACKCTL_API__LISTEN": "127.0.0.1:0",
        "STACKCTL_API__UPSTREAMS": json.dumps(upstreams),
        "STACKCTL_API__UPSTREAM_KEY_FILE": f'"{key}"',
        "STACKCTL_API__UPSTREAM_TIMEOUT_S": "3",
    }
    with Stack(model=False, env=settings) as stack:
        port = int(stack.ok("GET", "/v1/status")["api_url"].rpartition(":")[2])
        yield Site(port, engine, (stack.home / "state" / "api-token").read_text().strip())


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "llama", "messages": [{"role": "user", "content": text}]} | more


def test_a_completion_goes_through_whole(site: Site) -> None:
    asked = chat("hello", temperature=0.5, some_engines_own={"a": [1, None]})
    status, _, reply = site.status(asked)

    assert status == 200
    assert reply["choices"][0]["message"]["content"] == "hello"
    assert reply["told"]["asked"] == asked
    assert reply["told"]["path"] == "/v1/chat/completions"


def test_the_engine_gets_its_own_key_and_never_ours(site: Site) -> None:
    _, _, reply = site.status(chat("hello"))

    assert reply["told"]["authorization"] == "Bearer engine-key"


def test_the_path_of_the_engines_url_comes_first(site: Site) -> None:
    _, _, reply = site.status(chat("hello", model="deep"))

    assert reply["told"]["path"] == "/engines/v1/chat/completions"


def test_openais_client_completes_and_streams(site: Site) -> None:
    url = f"http://127.0.0.1:{site.port}/v1"
    with openai.OpenAI(base_url=url, api_key=site.token, max_retries=0) as client:
        whole = client.completions.create(model="llama", prompt="once upon")
        pieces = client.chat.completions.create(
            **chat("one two three", stream=True, temperature=0)
        )
        words = [next(pieces).choices[0].delta.content]
        site.engine_says("POST", "/release")
        words += [piece.choices[0].delta.content for piece in pieces]
        listed = {model.id: model.owned_by for model in client.models.list()}

    assert whole.choices[0].text == "once upon"
    assert words == ["one", "two", "three"]
    assert listed["llama"] == "upstream"


def test_a_piece_arrives_before_the_next_is_made(site: Site) -> None:
    connection = site.post(chat("one two", stream=True))
    answer = connection.getresponse()
    first = answer.readline()
    # Only now does the engine go on: what stood in a buffer could not have been read.
    site.engine_says("POST", "/release")
    rest = answer.read()
    connection.close()

    assert answer.getheader("content-type") == "text/event-stream"
    assert b'"one"' in first
    assert b'"two"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("text", ["one two", "silence"])
def test_a_client_that_leaves_ends_the_engines_work(site: Site, text: str) -> None:
    connection = site.post(chat(text, stream=True))
    if text == "silence":
        site.engine_says("GET", "/asked")
    else:
        connection.getresponse().readline()
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()

    assert site.engine_says("GET", "/gone") == {"told": True}


def test_a_broken_stream_ends_with_an_error_in_it(site: Site) -> None:
    connection = site.post(chat("break it", stream=True))
    answer = connection.getresponse()
    answer.readline()
    site.engine_says("POST", "/release")
    events = answer.read().decode().strip().split("\n\n")
    connection.close()

    last = json.loads(events[-1].removeprefix("data: "))
    assert "in the midst of its answer" in last["error"]["message"]
    assert last["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (chat("status 400 json"), 400, "told so"),
        (chat("status 429 json"), 429, "told so"),
        (chat("status 500 json"), 502, "answered 500"),
        (chat("status 404 html"), 502, "answered 404"),
        (chat("silence"), 504, "was silent for 3 s"),
        (chat("a", model="away"), 503, "no engine answers at http://127.0.0.1:"),
        (chat("a", model="nope"), 404, "those of api.upstreams: llama, deep, away"),
        ({"messages": []}, 400, "model"),
        ([], 400, "Expected `object`"),
    ],
)
def test_errors_have_openais_shape(site: Site, body: Any, status: int, words: str) -> None:
    got, headers, reply = site.status(body)

    assert got == status, reply
    assert words in reply["error"]["message"]
    if status == 429:
        assert headers["retry-after"] == "7"
