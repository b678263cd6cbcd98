"""Spans as events; refuses those without the ids that make them one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackctl_daemon.analytics.otlp.record import (
    MAX_NAME,
    Batch,
    Record,
    Sender,
    attributes,
    count,
    hexadecimal,
    microseconds,
    text,
)

MAX_EVENTS = 16
"""Events of a span that are kept; ``event_count`` says how many there were."""
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_ERROR = 2
_MAX_S = 1e12


def records(request: Any, batch: Batch) -> Iterator[Record]:
    """Give the spans of an ExportTraceServiceRequest, in order."""
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            sender = Sender(group.resource, scoped.scope)
            for span in scoped.spans:
                found = _record(span, sender, batch)
                if found is not None:
                    yield found


def _record(span: Any, sender: Sender, batch: Batch) -> Record | None:
    trace, own_id = hexadecimal(span.trace_id, 16), hexadecimal(span.span_id, 8)
    if not trace or not own_id:
        batch.reject("a span needs a trace_id of 16 bytes and a span_id of 8, not all zero")
        return None
    sent = attributes(span.attributes)
    own = {"trace_id": trace, "span_id": own_id}
    if parent := hexadecimal(span.parent_span_id, 8):
        own["parent_span_id"] = parent
    own |= sender.own() | {"kind": _KINDS.get(span.kind, "unspecified")}
    extra = _more(span)
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if end < start:
        extra["clock_skew"] = True
    at = batch.time(start or end, extra)
    failed = span.status.code == _ERROR
    return batch.record(
        own | extra,
        sent | sender.rest,
        id=f"span-{trace}-{own_id}",
        kind="span",
        name=text(span.name, MAX_NAME) or "unnamed",
        time_us=at,
        outcome="error" if failed else "ok",
        error_code=_error_code(sent, extra) if failed else "",
        duration_s=min(max(0, end - start) / 1e9, _MAX_S) if start else 0.0,
        tokens=_tokens(sent),
        model=text(sent.get("gen_ai.request.model") or sent.get("gen_ai.response.model") or ""),
        request_id=trace,
    )


def _more(span: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if span.status.message:
        found["status_message"] = span.status.message
    if span.trace_state:
        found["trace_state"] = span.trace_state
    if span.events:
        found["event_count"] = len(span.events)
        found["events"] = [
            {
                "name": event.name,
                "time_us": microseconds(event.time_unix_nano),
                "attributes": attributes(event.attributes),
            }
            for event in span.events[:MAX_EVENTS]
        ]
    if span.links:
        found["link_count"] = len(span.links)
    return found


def _tokens(sent: dict[str, Any]) -> int:
    """Sum what a generation took and gave (semantic conventions of gen_ai, old names too)."""
    taken = sent.get("gen_ai.usage.input_tokens", sent.get("gen_ai.usage.prompt_tokens"))
    given = sent.get("gen_ai.usage.output_tokens", sent.get("gen_ai.usage.completion_tokens"))
    return count(count(taken) + count(given))


def _error_code(sent: dict[str, Any], extra: dict[str, Any]) -> str:
    if "error.type" in sent:
        return text(sent["error.type"])
    for event in extra.get("events", ()):
        if event["name"] == "exception" and "exception.type" in event["attributes"]:
            return text(event["attributes"]["exception.type"])
    return ""
