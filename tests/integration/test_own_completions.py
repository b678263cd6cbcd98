"""OpenAI's own client against our generation model, through a real daemon."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from harness import Stack
from inference_stack import CACHE

pytestmark = pytest.mark.model

TEXT = "actions: read, edit; files: Dockerfile; notes: pin the base image and add a health check"
NAME = "traceforge-title"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    running = Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"})
    kept = CACHE / "models" / NAME
    place = running.home / "data" / "models" / NAME
    if kept.is_dir():
        shutil.copytree(kept, place)
    with running:
        if running.cli("models", "pull", NAME, timeout_s=600).returncode:
            pytest.skip("the generation model cannot be fetched")
        if not kept.is_dir():
            shutil.copytree(place, kept)
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    url = stack.ok("GET", "/v1/status")["api_url"]
    token = (stack.home / "state" / "api-token").read_text().strip()
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def expected(stack: Stack) -> Any:
    """What the run route gives: the answer by another way."""
    reply = stack.ok("POST", f"/v1/models/{NAME}/run", {"inputs": [{"text": TEXT}]})
    return reply["items"][0]["value"] | {"read": reply["tokens"]}


def test_a_completion_is_the_models_answer(client: openai.OpenAI, expected: Any) -> None:
    found = client.completions.create(model=NAME, prompt=TEXT, temperature=0, top_p=1, n=1)

    assert len(expected["text"].split()) > 2
    assert found.object == "text_completion"
    assert found.model == NAME
    [choice] = found.choices
    assert (choice.text, choice.finish_reason) == (expected["text"], "stop")
    assert found.usage is not None
    assert found.usage.prompt_tokens == expected["read"]
    assert found.usage.completion_tokens == expected["tokens"]
    assert found.usage.total_tokens == expected["read"] + expected["tokens"]


def test_a_stream_is_the_same_text_in_pieces(client: openai.OpenAI, expected: Any) -> None:
    chunks = list(
        client.completions.create(
            model=NAME, prompt=TEXT, stream=True, stream_options={"include_usage": True}
        )
    )

    *pieces, counted = chunks
    assert len(pieces) > 3
    assert "".join(piece.choices[0].text for piece in pieces) == expected["text"]
    assert [piece.choices[0].finish_reason for piece in pieces][-2:] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert counted.choices == []
    assert counted.usage.completion_tokens == expected["tokens"]


def test_a_chat_of_one_message_is_answered(client: openai.OpenAI, expected: Any) -> None:
    whole = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": [{"type": "text", "text": TEXT}]}]
    )
    chunks = list(
        client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": TEXT}], stream=True
        )
    )

    assert whole.choices[0].message.content == expected["text"]
    assert whole.choices[0].message.role == "assistant"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected["text"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_answer_is_as_long_as_asked_and_stops_where_asked(
    client: openai.OpenAI, expected: Any
) -> None:
    short = client.completions.create(model=NAME, prompt=TEXT, max_tokens=2)
    word = expected["text"].split()[1]
    until = client.completions.create(model=NAME, prompt=[TEXT, TEXT], stop=[f" {word}"])
    streamed = client.completions.create(model=NAME, prompt=TEXT, stop=word, stream=True)

    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2
    assert expected["text"].startswith(short.choices[0].text)
    before = expected["text"].partition(f" {word}")[0]
    assert [choice.text for choice in until.choices] == [before] * 2
    assert [choice.index for choice in until.choices] == [0, 1]
    assert "".join(piece.choices[0].text for piece in streamed) == f"{before} "


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"echo": True}, "echo"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"logprobs": 0}, "logprobs"),
        ({"logprobs": 3}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"max_tokens": 9_999}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"], "stream": True}, "prompt"),
    ],
)
def test_what_the_model_does_not_do_is_refused_by_field(
    client: openai.OpenAI, fields: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": NAME, "prompt": TEXT} | fields)

    assert caught.value.param == param
    # What the request said, as it said it, and nothing of Python's.
    assert "'" not in caught.value.body["message"]  # type: ignore[index]  # the error's object
    assert "True" not in caught.value.body["message"]  # type: ignore[index]  # as above


def test_a_chat_of_several_messages_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="knows no chat") as caught:
        client.chat.completions.create(
            model=NAME,
            messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}],
        )

    assert caught.value.param == "messages"
    with pytest.raises(openai.BadRequestError, match=r"has the roles \[\], expected"):
        client.chat.completions.create(model=NAME, messages=[])


def test_models_that_cannot_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"those of api\.upstreams: none"):
        client.completions.create(model="nonesuch", prompt=TEXT)
    with pytest.raises(openai.NotFoundError, match="stackctl models pull"):
        client.completions.create(model="magika", prompt=TEXT)


def test_the_wire_is_server_sent_events_with_their_end(stack: Stack, client: Any) -> None:
    port, token = client.base_url.port, client.api_key
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": NAME, "prompt": TEXT, "stream": True}).encode()
    connection.request("POST", "/v1/completions", body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    events = answer.read().decode().split("\n\n")
    connection.close()

    assert answer.headers["content-type"] == "text/event-stream"
    assert all(event.startswith("data: ") for event in events[:-1])
    assert events[-2:] == ["data: [DONE]", ""]


def test_a_configured_engine_wins_over_our_model_of_the_same_name(engine: int) -> None:
    env = {
        "STACKCTL_API__LISTEN": "127.0.0.1:0",
        "STACKCTL_API__UPSTREAMS": json.dumps([f"{NAME}=http://127.0.0.1:{engine}"]),
    }
    with Stack(model=False, env=env) as stack:
        shutil.copytree(CACHE / "models" / NAME, stack.home / "data" / "models" / NAME)
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = (stack.home / "state" / "api-token").read_text().strip()
        with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
            found = client.chat.completions.create(
                model=NAME, messages=[{"role": "user", "content": "hello"}]
            )

    assert "hello" in str(found)
