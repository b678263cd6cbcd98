"""OpenAI's transcription and translation: a form with a sound in, text or subtitles out.

Source: createTranscription and createTranslation in the OpenAPI description of api.openai.com;
SubRip as in its de facto description; WebVTT, W3C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stackctl.errors import Invalid
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.apis import multipart
from stackctl_daemon.inference.apis.account import Statistics
from stackctl_daemon.inference.apis.openai import BOTH, ERRORS, RAISED, BadField, entry_of
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.service import InferenceService

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
_TEXTS = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip",
    "vtt": "text/vtt; charset=utf-8",
}


_HARMLESS = {
    "timestamp_granularities[]": "segment",
    "timestamp_granularities": "segment",
    "include[]": "",
    "include": "",
}
"""Fields with the value that asks for nothing special; another one is refused."""


class Transcription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was said; the rest only in the format ``verbose_json``."""

    text: str
    task: str = ""
    language: str = ""
    duration: float = 0.0
    segments: list[dict[str, Any]] | None = None


def routes(service: InferenceService, statistics: Statistics) -> list[Route]:
    """Give the routes."""

    async def transcribe(request: Request) -> Reply:
        return await answer(request, "transcribe")

    async def translate(request: Request) -> Reply:
        return await answer(request, "translate")

    async def answer(request: Request, task: str) -> Reply:
        form = Form(request.headers.get("content-type", ""), request.body)
        kind = form.text("response_format", "json")
        if kind not in FORMATS:
            expected = ", ".join(FORMATS)
            raise BadField("response_format", f'the format "{kind}", expected one of {expected}')
        if form.text("stream", "false").lower() not in ("false", "0"):
            raise BadField("stream", "transcriptions do not stream, expected stream false")
        _check_asked(form)
        sound = form.file("file")
        model = form.text("model", "")
        if not model:
            raise BadField("model", "the form has no field model")
        entry = await entry_of(service, model)
        if entry.task != "transcription":
            raise BadField("model", f'model "{entry.name}" does {entry.task}, not transcription')
        options: dict[str, Any] = {
            name: text for name in ("language", "prompt") if (text := form.text(name, ""))
        }
        if task == "translate":
            options["task"] = task
            options.pop("language", None)  # the form of a translation has none
        if temperature := form.text("temperature", ""):
            options["temperature"] = _number("temperature", temperature)
        ask = Ask(options=options, user=request.uid)
        try:
            done = await service.run([Input(data=sound)], model=model, ask=ask)
        except Invalid as err:
            raise _placed(err, options) from err
        statistics.add(done, 1)
        value: Mapping[str, Any] = done.results[0].value
        if kind in _TEXTS:
            text = _WRITERS[kind](value)
            return Reply(text.encode(), content_type=_TEXTS[kind], spent=done.spent())
        found = _object(value, task if kind == "verbose_json" else "")
        return Reply(found, spent=done.spent())

    return [
        Route(
            name=f"openai.{name}",
            method="POST",
            path=f"/v1/audio/{name}",
            permission="operate",
            handler=handler,
            summary=f"Turn speech into {what} (OpenAI).",
            raw=multipart.CONTENT_TYPE,
            reply=Transcription,
            also_replies=tuple(_TEXTS.values()),
            errors=RAISED,
            errors_as=ERRORS,
            listeners=BOTH,
            max_body_bytes=96 << 20,
            runs_model=True,
            ends_with_peer=True,
            timeout_s=600,
        )
        for name, handler, what in (
            ("transcriptions", transcribe, "text"),
            ("translations", translate, "English text"),
        )
    ]


def _check_asked(form: Form) -> None:
    """Refuse what would be left out of the answer in silence."""
    for name, harmless in _HARMLESS.items():
        for text in form.texts(name):
            if text != harmless:
                raise BadField(
                    name,
                    f'{name} is "{text[:40]}", expected {harmless or "nothing"}: a model tells the'
                    " times of segments alone, and no probabilities",
                )


def _placed(err: Invalid, options: Mapping[str, Any]) -> Invalid:
    """Name the field of the form that an adapter's refusal is about."""
    named = next((name for name in options if f'option "{name}"' in err.message), "file")
    if "knows no language" in err.message:
        named = "language"
    elif "task" in options and f'does not "{options["task"]}"' in err.message:
        named = "model"
    found = BadField(named, err.message)
    found.hint, found.model, found.queue_s = err.hint, err.model, err.queue_s
    return found


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadField(name, f'{name} is "{text[:40]}", expected a number')
    return number


class Form:
    """The fields of a form, by name."""

    def __init__(self, content_type: str, body: bytes) -> None:
        """Read it; see `multipart.read`."""
        self._all = multipart.read(content_type, body)
        self._parts = {part.name: part for part in self._all}

    def text(self, name: str, default: str) -> str:
        """Give a field's text.

        Raises:
            BadField: it is not UTF-8.
        """
        part = self._parts.get(name)
        if part is None:
            return default
        try:
            return part.data.decode().strip()
        except UnicodeDecodeError as err:
            raise BadField(name, f"the field {name} is not UTF-8") from err

    def texts(self, name: str) -> list[str]:
        """Give the texts of a field that may come several times; bytes that are none are cut."""
        return [
            part.data.decode(errors="replace").strip() for part in self._all if part.name == name
        ]

    def file(self, name: str) -> bytes:
        """Give a file's bytes.

        Raises:
            BadField: there is none, or it is empty.
        """
        part = self._parts.get(name)
        if part is None or not part.data:
            raise BadField(name, f"the form has no file in the field {name}")
        return part.data


def _segments(value: Mapping[str, Any]) -> list[tuple[float, float, str]]:
    """Give start, end and text of each segment; one over all where the model told none."""
    found = [
        (
            float(item.get("start_s", item.get("start", 0.0))),
            float(item.get("end_s", item.get("end", 0.0))),
            str(item.get("text", "")).strip(),
        )
        for item in value.get("segments") or []
    ]
    text = str(value.get("text", "")).strip()
    return found or ([(0.0, float(value.get("duration_s", 0.0)), text)] if text else [])


def _object(value: Mapping[str, Any], task: str) -> Transcription:
    """Give the text, and with a task all that is known."""
    text = str(value.get("text", ""))
    if not task:
        return Transcription(text=text)
    segments = [
        {"id": i, "start": start, "end": end, "text": said}
        for i, (start, end, said) in enumerate(_segments(value))
    ]
    return Transcription(
        text=text,
        task=task,
        language=str(value.get("language") or ""),
        duration=float(value.get("duration_s", 0.0)),
        segments=segments,
    )


def srt(value: Mapping[str, Any]) -> str:
    """Write SubRip."""
    blocks = [
        f"{i}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_cue(text)}\n"
        for i, (start, end, text) in enumerate(_segments(value), 1)
    ]
    return "\n".join(blocks)


def vtt(value: Mapping[str, Any]) -> str:
    """Write WebVTT."""
    blocks = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(_cue(text))}\n"
        for start, end, text in _segments(value)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _plain(value: Mapping[str, Any]) -> str:
    return str(value.get("text", "")).strip() + "\n"


_WRITERS: dict[str, Callable[[Mapping[str, Any]], str]] = {"text": _plain, "srt": srt, "vtt": vtt}


def _cue(text: str) -> str:
    """Leave out what would end a cue."""
    return " ".join(text.split()).replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _clock(seconds: float, point: str) -> str:
    ms = round(max(0.0, seconds) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
