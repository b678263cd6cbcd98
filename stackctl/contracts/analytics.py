"""Questions to the analytics store and their answers: typed queries, SQL, the tail of events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stackctl.contracts.event import Event

Measure = Literal[
    "count",
    "errors",
    "error_rate",
    "rate_per_s",
    "items",
    "tokens",
    "mean_s",
    "p50_s",
    "p90_s",
    "p95_s",
    "p99_s",
    "max_s",
    "users",
]
Operator = Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "prefix"]
Source = Literal["events", "minutes", "hours"]


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on a field of an event."""

    field: str
    """A dimension (``kind``, ``name``, ``outcome``, ``error_code``, ``model``, ``device``,
    ``uid``, ``job_id``, ``request_id``), a number (``duration_s``, ``items``, ``tokens``), or
    ``attributes.KEY``."""
    op: Operator = "eq"
    value: Any
    """Text or a number; for ``in`` a list of them."""


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures over a range of time, whole or in steps, by dimensions."""

    measures: list[Measure] = msgspec.field(
        default_factory=lambda: ["count", "errors", "p50_s", "p95_s", "p99_s"]
    )
    kind: str = ""
    """Of the events; empty: every one."""
    since_us: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Microseconds since the epoch, inclusive; 0: ``window_s`` before ``until_us``."""
    until_us: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Exclusive; 0: now, the newest event included."""
    window_s: Annotated[float, Meta(ge=1, le=315_360_000)] = 3600.0
    step_s: Annotated[int, Meta(ge=0, le=31_536_000)] = 0
    """Length of a time bucket; 0: the whole range is one. Buckets begin at multiples of it."""
    group_by: Annotated[list[str], Meta(max_length=4)] = []
    """Dimensions, as in `Filter.field`."""
    where: Annotated[list[Filter], Meta(max_length=16)] = []
    """All must hold."""
    order_by: str = ""
    """A measure or dimension, ``-`` before it for the largest first; empty: time, then groups."""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    others: bool = False
    """Sum what ``limit`` cuts off into one group named ``(other)``."""
    compare: bool = False
    """Give each measure of the range just before, too, as ``MEASURE_before``."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of an answer."""

    name: str
    role: Literal["time", "group", "measure", "value"]
    unit: str = ""
    """``s``, ``1/s``, ``us since epoch``; empty: a count, a ratio or text."""


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: rows of values in the columns' order."""

    columns: list[Column]
    rows: list[list[Any]]
    source: Source = "events"
    """What was read."""
    exact: bool = True
    """False: quantiles come from histograms, within 1 % of the exact ones."""
    truncated: bool = False
    """There are more rows than ``limit``."""
    elapsed_s: float = 0.0
    since_us: int = 0
    until_us: int = 0


class SqlRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SELECT over the tables ``events``, ``minutes`` and ``hours``."""

    sql: Annotated[str, Meta(min_length=1, max_length=65_536)]
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    timeout_s: Annotated[float, Meta(ge=0.01, le=60)] = 10.0


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the store."""

    seq: int
    """Grows with each event that is loaded; where a tail goes on."""
    event: Event


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events in order of their numbers; ``next_seq`` is where the next page begins."""

    items: list[StoredEvent]
    next_seq: int
