"""Completions of our own generation models, as OpenAI spells them; refuses to be a chat model.

Such a model turns one text into another by the likeliest token at each step: ``temperature``,
``top_p`` and ``seed`` are read and change nothing, and what asks for more than one answer, for
probabilities or for other tokens is refused. A chat is its one message.
Source: createCompletion and createChatCompletion in the OpenAPI description of api.openai.com.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from stackctl.errors import Invalid, NotFound
from stackctl_daemon.http.answer import SSE
from stackctl_daemon.http.registry import Reply, Request
from stackctl_daemon.http.spent import Spent
from stackctl_daemon.http.stream import begun
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.adapters.option import shown
from stackctl_daemon.inference.apis.account import Statistics
from stackctl_daemon.inference.apis.openai import BadField, UnknownModel
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.service import InferenceService

TASK = "generation"
CHAT = "/v1/chat/completions"
_MAX_PROMPTS = 128
_END = b"data: [DONE]\n\n"
_NO_CACHE = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


_HARMLESS: dict[str, Any] = {
    "n": 1,
    "logprobs": False,
    "logit_bias": {},
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "echo": False,
    "best_of": 1,
    "suffix": "",
    "top_logprobs": 0,
    "tools": [],
    "response_format": {"type": "text"},
}
"""Fields with the value that asks for nothing; another one is refused."""
_FLAGS = ("logprobs", "echo")
"""``logprobs: 0`` asks for the probability of the token itself."""


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream has beside its pieces."""

    include_usage: bool | None = None


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What both requests have."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: int | None = None
    # Refused but where they ask for nothing.
    logprobs: int | bool | None = None
    logit_bias: dict[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class CompletionRequest(_Asked, frozen=True, kw_only=True):
    """A text to go on from, or several."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a chat."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(_Asked, frozen=True, kw_only=True):
    """A chat, of one message of the user."""

    messages: list[Message]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


class _Shape(NamedTuple):
    """How one of the two protocols writes an answer."""

    id: str
    model: str
    created: int
    chat: bool

    def whole(self, done: Done) -> dict[str, Any]:
        """Give the answer to a request that is not streamed."""
        choices = [
            {
                "index": index,
                "logprobs": None,
                "finish_reason": result.value["finish_reason"],
                **self._said(result.value["text"]),
            }
            for index, result in enumerate(done.results)
        ]
        kind = "chat.completion" if self.chat else "text_completion"
        return self._outer(kind, choices) | {"usage": usage(done)}

    def piece(self, text: str, reason: str | None = None, *, first: bool = False) -> bytes:
        """Give an event of a stream."""
        said: dict[str, Any] = {"text": text}
        if self.chat:
            delta: dict[str, Any] = {"content": text} if text or first else {}
            said = {"delta": {"role": "assistant", **delta} if first else delta}
        choice = {"index": 0, "logprobs": None, "finish_reason": reason, **said}
        return self.event([choice])

    def event(self, choices: list[Any], **more: Any) -> bytes:
        """Give an event of any choices."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: " + msgspec.json.encode(self._outer(kind, choices) | more) + b"\n\n"

    def _said(self, text: str) -> dict[str, Any]:
        if self.chat:
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"text": text}

    def _outer(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


class OwnModels:
    """Answers for the models of our catalogue."""

    def __init__(self, service: InferenceService, statistics: Statistics) -> None:
        self._service, self._statistics = service, statistics

    async def answer(self, request: Request, *, others: str) -> Reply:
        """Answer a completion or a chat.

        Args:
            request: with the bytes of its body.
            others: names of models that engines run, for the error.

        Raises:
            UnknownModel: no model of that name is here.
            BadField: a field asks for what such a model does not do.
        """
        chat = request.path == CHAT
        asked = _read(request.body, chat)
        try:
            entry = await self._service.entry(asked.model)
        except NotFound as err:
            raise UnknownModel(
                f"{err.message}, nor is it run by an upstream engine; those of"
                f" api.upstreams: {others}",
                hint=err.hint,
            ) from err
        if entry.task != TASK:
            raise BadField("model", f'model "{entry.name}" does {entry.task}, not {TASK}')
        inputs, options = _inputs(asked), _options(asked)
        kind = "chatcmpl" if chat else "cmpl"
        shape = _Shape(f"{kind}-{request.id}", entry.name, int(time.time()), chat)
        ask = Ask(options=options, user=request.uid)
        if asked.stream:
            if len(inputs) != 1:
                raise BadField("prompt", f"{len(inputs)} prompts, a stream has one")
            spent = Spent()
            stream = await begun(self._stream(inputs[0], ask, asked, shape, spent))
            return Reply(stream=stream, content_type=SSE, headers=_NO_CACHE, spent=spent)
        try:
            done = await self._service.run(inputs, model=asked.model, ask=ask)
        except Invalid as err:
            raise _placed(err) from err
        self._statistics.add(done, len(inputs))
        return Reply(shape.whole(done), spent=done.spent())

    async def _stream(
        self, item: Input, ask: Ask, asked: _Asked, shape: _Shape, spent: Spent
    ) -> AsyncGenerator[bytes, None]:
        """Give the events of a stream; whoever stops reading ends the work."""
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        first = shape.chat
        source = self._service.stream(item, model=asked.model, ask=ask)
        try:
            async with aclosing(source) as pieces:
                async for found in pieces:
                    if not isinstance(found, Done):
                        yield shape.piece(found["text"], first=first)
                        first = False
                        continue
                    self._statistics.add(found, 1)
                    found.spent(spent)
                    reason = found.results[0].value["finish_reason"]
                    yield shape.piece("", reason, first=first)
                    if with_usage:
                        yield shape.event([], usage=usage(found))
                    yield _END
        except Invalid as err:
            raise _placed(err) from err


def usage(done: Done) -> dict[str, int]:
    """Give the tokens that were read and written."""
    written = sum(int(result.value["tokens"]) for result in done.results)
    return {
        "prompt_tokens": done.tokens,
        "completion_tokens": written,
        "total_tokens": done.tokens + written,
    }


def _read(body: bytes, chat: bool) -> CompletionRequest | ChatRequest:
    try:
        if chat:
            return msgspec.json.decode(body, type=ChatRequest)
        return msgspec.json.decode(body, type=CompletionRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Invalid(f"completion request: {err}") from err


def _inputs(asked: CompletionRequest | ChatRequest) -> list[Input]:
    if isinstance(asked, ChatRequest):
        return [Input(text=_message(asked.messages))]
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(texts) != len(prompts):
        raise BadField("prompt", "the prompt is of token ids, expected a text")
    if not 1 <= len(texts) <= _MAX_PROMPTS:
        raise BadField("prompt", f"{len(texts)} prompts, expected 1 to {_MAX_PROMPTS}")
    return [Input(text=text) for text in texts]


def _message(messages: list[Message]) -> str:
    roles = [message.role for message in messages]
    if roles != ["user"]:
        raise BadField(
            "messages",
            f'messages has the roles {shown(roles)}, expected ["user"]: the model turns one text'
            " into another and knows no chat",
        )
    content = messages[0].content
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
        content = "\n".join(texts) if len(texts) == len(content) else None
    if content is None:
        raise BadField("messages", "the message is not of text alone, expected a text")
    return content


def _options(asked: CompletionRequest | ChatRequest) -> dict[str, Any]:
    """Give the options of the adapter, after what it does not do is refused."""
    for name, harmless in _HARMLESS.items():
        value = getattr(asked, name, None)
        if value is not None and (
            value != harmless or isinstance(value, bool) != (name in _FLAGS)
        ):
            raise BadField(
                name,
                f"{name} is {shown(value)}, expected {shown(harmless)} or nothing: a model of the"
                " catalogue gives its one likeliest answer",
            )
    longest = getattr(asked, "max_completion_tokens", None) or asked.max_tokens
    options: dict[str, Any] = {"max_new_tokens": longest, "stop": asked.stop}
    return {name: value for name, value in options.items() if value is not None}


def _placed(err: Invalid) -> Invalid:
    """Name the field of the request that an adapter's refusal is about."""
    if "max_new_tokens" in err.message:
        return BadField("max_tokens", err.message.replace("max_new_tokens", "max_tokens"))
    return BadField("stop", err.message) if '"stop"' in err.message else err
