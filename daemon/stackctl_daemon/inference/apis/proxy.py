"""Completions, passed on to the engine that runs the model (vLLM, Ollama, llama.cpp).

A model that no engine of the settings runs is one of our own, if any: `completions` answers.
The request's bytes go out as they came, and so does the answer, piece by piece. Refuses to read
more of either than the model's name and whether the answer is an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from stackctl.errors import BadConfig, Failed, Invalid, TimedOut, Unreachable
from stackctl.settings import ApiSettings
from stackctl_daemon.http import upstream
from stackctl_daemon.http.answer import SSE
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.inference.apis.completions import OwnModels
from stackctl_daemon.inference.apis.openai import BOTH, ERRORS, RAISED

log = logging.getLogger(__name__)

MAX_REPLY_BYTES = 64 << 20
_PATHS = {"openai.chat": "/v1/chat/completions", "openai.completions": "/v1/completions"}


class BadUpstream(Failed):
    """An engine did not answer as its protocol says."""

    status = 502


class _Asked(msgspec.Struct):
    """What is read of a request."""

    model: str
    stream: bool | None = False


_decoder = msgspec.json.Decoder(_Asked)


class Upstreams:
    """Engines by the models that they run."""

    def __init__(self, settings: ApiSettings) -> None:
        """Read them from the settings.

        Raises:
            BadConfig: one of them is not ``MODEL=URL``, or the key's file cannot be read.
        """
        self.timeout_s = settings.upstream_timeout_s
        self._key = _key(settings.upstream_key_file)
        self._targets: dict[str, upstream.Target] = {}
        for text in settings.upstreams:
            name, _, url = text.rpartition("=")
            try:
                self._targets[name] = upstream.target(url)
            except ValueError as err:
                raise BadConfig(
                    f'api.upstreams has "{text}": {err}, expected MODEL=URL such as'
                    " llama3.2=http://127.0.0.1:11434",
                    hint="stackctl config check",
                ) from err
            if not name:
                raise BadConfig(f'api.upstreams has "{text}": no model, expected MODEL=URL',
                                hint="stackctl config check")  # fmt: skip

    def names(self) -> Sequence[str]:
        """Give the models that engines run."""
        return list(self._targets)

    def of(self, model: str) -> upstream.Target | None:
        """Give the engine of a model, if one runs it."""
        return self._targets.get(model)

    def headers(self, request: Request) -> dict[str, str]:
        """Give the header that goes to an engine: the caller's own token stays here."""
        found = {
            "Content-Type": "application/json",
            "Accept": request.headers.get("accept", "*/*"),
            "Accept-Encoding": "identity",
            "X-Request-Id": request.id,
        }
        if self._key:
            found["Authorization"] = f"Bearer {self._key}"
        return found


def routes(upstreams: Upstreams, own: OwnModels) -> list[Route]:
    """Give the routes."""

    async def forward(request: Request) -> Reply:
        try:
            asked = _decoder.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            raise Invalid(f"completion request: {err}") from err
        engine = upstreams.of(asked.model)
        if engine is None:
            return await own.answer(request, others=", ".join(upstreams.names()) or "none")
        exchange = upstream.Exchange(engine, timeout_s=upstreams.timeout_s)
        try:
            return await _reply(exchange, request, upstreams)
        except upstream.Broken as err:
            raise BadUpstream(f"{engine} {err}") from err
        except TimeoutError as err:
            raise TimedOut(f"{engine} was silent for {upstreams.timeout_s:g} s") from err
        except OSError as err:
            why = (err.strerror or str(err)).lower()
            raise Unreachable(f"no engine answers at {engine}: {why}",
                              hint="stackctl config show") from err  # fmt: skip

    return [
        Route(
            name=name,
            method="POST",
            path=path,
            permission="operate",
            handler=forward,
            summary="Complete a text by a generation model or the engine of its model (OpenAI).",
            raw="application/json",
            reply=dict[str, Any],
            also_replies=(SSE,),
            errors=(*RAISED, BadUpstream, Unreachable),
            errors_as=ERRORS,
            listeners=BOTH,
            max_body_bytes=64 << 20,
            timeout_s=3600,
            runs_model=True,
            ends_with_peer=True,
        )
        for name, path in _PATHS.items()
    ]


async def _reply(exchange: upstream.Exchange, request: Request, upstreams: Upstreams) -> Reply:
    streams = False
    try:
        head = await exchange.send("POST", request.path, upstreams.headers(request), request.body)
        kind = head.headers.get("content-type", "application/json")
        streams = head.status == 200 and kind.startswith(SSE)
        if streams:
            return Reply(stream=_pieces(exchange), content_type=kind, headers=_NO_CACHE)
        body = await exchange.body(MAX_REPLY_BYTES)
    finally:
        if not streams:
            exchange.close()
    if head.status >= 500 or not _is_json(body):
        raise BadUpstream(
            f"{exchange.target} answered {head.status}: {body[:200].decode('utf-8', 'replace')!r}"
        )
    kept = [(k.title(), v) for k, v in head.headers.items() if k == "retry-after"]
    return Reply(body, status=head.status, content_type=kind, headers=kept)


_NO_CACHE = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


async def _pieces(exchange: upstream.Exchange) -> AsyncIterator[Any]:
    """Give the answer as it comes; whoever stops reading ends the engine's work too."""
    try:
        async with aclosing(exchange.pieces()) as pieces:
            async for piece in pieces:
                yield piece
    except upstream.Broken as err:
        raise BadUpstream(f"{exchange.target} {err}") from err
    except TimeoutError as err:
        raise TimedOut(f"{exchange.target} fell silent in the midst of its answer") from err
    except OSError as err:
        raise BadUpstream(f"{exchange.target} broke off: {err}") from err
    finally:
        exchange.close()


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _key(file: str) -> str:
    if not file:
        return ""
    try:
        text = Path(file).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise BadConfig(f"api.upstream_key_file {file} cannot be read: {err}",
                        hint=f"ls -l {file}") from err  # fmt: skip
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise BadConfig(f"api.upstream_key_file {file} holds no key", hint=f"ls -l {file}")
    return text
