"""Events: what happened, acknowledged only when it is on disk."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

EventKind = Literal[
    "request", "inference", "job", "user", "container", "device", "audit", "span", "metric", "log"
]
"""The last three are what OpenTelemetry sends."""
Outcome = Literal["ok", "error"]


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happened."""

    id: str
    """Chosen by the producer; the same id sent twice is stored once."""
    kind: EventKind
    name: str
    """What, such as a route's name or a job's kind."""
    time_us: int
    """Microseconds since the Unix epoch, UTC, 0 to 2**53."""
    outcome: Outcome = "ok"
    error_code: str = ""
    duration_s: float = 0.0
    items: int = 0
    tokens: int = 0
    model: str = ""
    device: str = ""
    job_id: str = ""
    request_id: str = ""
    uid: int = -1
    attributes: dict[str, Any] = {}


class EventBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events of a producer: 1 to 10,000."""

    events: list[Event]


class EventAck(msgspec.Struct, frozen=True, kw_only=True):
    """Sent after the events are on disk."""

    accepted: int


class SummaryRow(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one kind and name over the window."""

    kind: EventKind
    name: str
    count: int
    errors: int
    items: int
    p50_s: float
    p95_s: float
    p99_s: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts, errors and exact quantiles from the analytics store."""

    window_s: float
    rows: list[SummaryRow]
    events_stored: int
    events_pending: int
    """Durable in the segment log, not yet in DuckDB."""
