"""Log records as events; refuses to read anything out of their text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackctl_daemon.analytics.otlp.record import (
    MAX_NAME,
    Batch,
    Record,
    Sender,
    attributes,
    hexadecimal,
    plain,
    text,
)

_NAMES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_ERROR = 17  # the first severity number of ERROR (data model of logs)
_ERROR_TEXTS = {"ERROR", "FATAL", "CRITICAL", "ALERT", "EMERGENCY"}


def records(request: Any, batch: Batch) -> Iterator[Record]:
    """Give the records of an ExportLogsServiceRequest, in order."""
    for group in request.resource_logs:
        for scoped in group.scope_logs:
            sender = Sender(group.resource, scoped.scope)
            for entry in scoped.log_records:
                yield _record(entry, sender, batch)


def _record(entry: Any, sender: Sender, batch: Batch) -> Record:
    sent = attributes(entry.attributes)
    own = sender.own() | _own(entry)
    at = entry.time_unix_nano or entry.observed_time_unix_nano
    severity = _severity(entry)
    identity = batch.id(
        entry.time_unix_nano, entry.observed_time_unix_nano, severity, own, sent, sender.rest,
        # Without a time two records may be alike: one sent again had better be there twice.
        0 if at else batch.now_us,
    )  # fmt: skip
    failed = entry.severity_number >= _ERROR or (
        not entry.severity_number and severity in _ERROR_TEXTS
    )
    return batch.record(
        own,
        sent | sender.rest,
        id="log-" + identity,
        kind="log",
        name=severity,
        time_us=batch.time(at, own),
        outcome="error" if failed else "ok",
        error_code=text(sent.get("exception.type", "")) if failed else "",
        request_id=own.get("trace_id", ""),
    )


def _own(entry: Any) -> dict[str, Any]:
    found = {
        "trace_id": hexadecimal(entry.trace_id, 16),
        "span_id": hexadecimal(entry.span_id, 8),
        "severity_number": entry.severity_number,
        "severity_text": entry.severity_text,
        "event_name": entry.event_name,
    }
    return {"body": plain(entry.body)} | {key: value for key, value in found.items() if value}


def _severity(entry: Any) -> str:
    if 1 <= entry.severity_number <= 24:
        return _NAMES[(entry.severity_number - 1) // 4]
    return text(entry.severity_text, MAX_NAME).upper() or "UNSPECIFIED"
