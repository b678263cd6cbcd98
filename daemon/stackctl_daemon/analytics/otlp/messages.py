"""OTLP's JSON as Structs with the attribute names of its protobuf messages.

So one conversion serves both encodings. Refuses to check values: unknown fields are passed over.
Source: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding": keys are
lowerCamelCase, trace and span ids hexadecimal, enums integers, 64-bit integers text or numbers.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What can be written as JSON again; only times may be above it."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What protobuf's messages can be asked, too."""

    def HasField(self, name: str) -> bool:
        """Say whether an optional field was given."""
        return getattr(self, name) is not None


class AnyValue(Message, frozen=True, kw_only=True, rename="camel"):
    """A value of one of several types."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Int64 | None = None
    double_value: float | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None
    bytes_value: bytes | None = None

    def WhichOneof(self, group: str) -> str | None:
        """Give the name of the field that was given."""
        return next((f for f in self.__struct_fields__ if getattr(self, f) is not None), None)


class ArrayValue(Message, frozen=True, kw_only=True, rename="camel"):
    """Values in order."""

    values: list[AnyValue] = []


class KeyValueList(Message, frozen=True, kw_only=True, rename="camel"):
    """A map."""

    values: list[KeyValue] = []


class KeyValue(Message, frozen=True, kw_only=True, rename="camel"):
    """An attribute."""

    key: str = ""
    value: AnyValue = AnyValue()


class Resource(Message, frozen=True, kw_only=True, rename="camel"):
    """Who sends."""

    attributes: list[KeyValue] = []


class InstrumentationScope(Message, frozen=True, kw_only=True, rename="camel"):
    """The library that measured."""

    name: str = ""
    version: str = ""


class SpanStatus(Message, frozen=True, kw_only=True, rename="camel"):
    """How a span ended."""

    code: int = 0
    message: str = ""


class SpanEvent(Message, frozen=True, kw_only=True, rename="camel"):
    """Something within a span."""

    time_unix_nano: int = 0
    name: str = ""
    attributes: list[KeyValue] = []


class Span(Message, frozen=True, kw_only=True, rename="camel"):
    """An operation."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = ""
    trace_state: str | None = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[KeyValue] = []
    events: list[SpanEvent] = []
    links: list[dict[str, Any]] = []
    status: SpanStatus = SpanStatus()


class ScopeSpans(Message, frozen=True, kw_only=True, rename="camel"):
    """Spans of a library."""

    scope: InstrumentationScope = InstrumentationScope()
    spans: list[Span] = []


class ResourceSpans(Message, frozen=True, kw_only=True, rename="camel"):
    """Spans of a sender."""

    resource: Resource = Resource()
    scope_spans: list[ScopeSpans] = []


class TraceRequest(Message, frozen=True, kw_only=True, rename="camel"):
    """ExportTraceServiceRequest."""

    resource_spans: list[ResourceSpans] = []


class NumberPoint(Message, frozen=True, kw_only=True, rename="camel"):
    """A value at a time."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    as_double: float | None = None
    as_int: Int64 | None = None
    flags: Int64 = 0

    def WhichOneof(self, group: str) -> str | None:
        """Give the name of the value's field."""
        return next((f for f in ("as_double", "as_int") if getattr(self, f) is not None), None)


class HistogramPoint(Message, frozen=True, kw_only=True, rename="camel"):
    """Counts between explicit bounds."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: Int64 = 0
    sum: float | None = None
    bucket_counts: list[Int64] = []
    explicit_bounds: list[float] = []
    min: float | None = None
    max: float | None = None
    flags: Int64 = 0


class Buckets(Message, frozen=True, kw_only=True, rename="camel"):
    """Counts of exponential buckets from an index on."""

    offset: Int64 = 0
    bucket_counts: list[Int64] = []


class ExponentialPoint(Message, frozen=True, kw_only=True, rename="camel"):
    """Counts between powers of ``2 ** (2 ** -scale)``."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: Int64 = 0
    sum: float | None = None
    scale: Int64 = 0
    zero_count: Int64 = 0
    positive: Buckets = Buckets()
    negative: Buckets = Buckets()
    min: float | None = None
    max: float | None = None
    flags: Int64 = 0


class QuantileValue(Message, frozen=True, kw_only=True, rename="camel"):
    """A quantile of a summary."""

    quantile: float = 0.0
    value: float = 0.0


class SummaryPoint(Message, frozen=True, kw_only=True, rename="camel"):
    """Quantiles as their sender computed them."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: Int64 = 0
    sum: float = 0.0
    quantile_values: list[QuantileValue] = []
    flags: Int64 = 0


class Numbers(Message, frozen=True, kw_only=True, rename="camel"):
    """A gauge or a sum."""

    data_points: list[NumberPoint] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class Histograms(Message, frozen=True, kw_only=True, rename="camel"):
    """Histograms of explicit bounds."""

    data_points: list[HistogramPoint] = []
    aggregation_temporality: int = 0


class ExponentialHistograms(Message, frozen=True, kw_only=True, rename="camel"):
    """Exponential histograms."""

    data_points: list[ExponentialPoint] = []
    aggregation_temporality: int = 0


class Summaries(Message, frozen=True, kw_only=True, rename="camel"):
    """Summaries."""

    data_points: list[SummaryPoint] = []


class Metric(Message, frozen=True, kw_only=True, rename="camel"):
    """A metric and its points."""

    name: str = ""
    description: str = ""
    unit: str = ""
    gauge: Numbers | None = None
    sum: Numbers | None = None
    histogram: Histograms | None = None
    exponential_histogram: ExponentialHistograms | None = None
    summary: Summaries | None = None

    def WhichOneof(self, group: str) -> str | None:
        """Give the name of the field that holds the points."""
        kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
        return next((f for f in kinds if getattr(self, f) is not None), None)


class ScopeMetrics(Message, frozen=True, kw_only=True, rename="camel"):
    """Metrics of a library."""

    scope: InstrumentationScope = InstrumentationScope()
    metrics: list[Metric] = []


class ResourceMetrics(Message, frozen=True, kw_only=True, rename="camel"):
    """Metrics of a sender."""

    resource: Resource = Resource()
    scope_metrics: list[ScopeMetrics] = []


class MetricsRequest(Message, frozen=True, kw_only=True, rename="camel"):
    """ExportMetricsServiceRequest."""

    resource_metrics: list[ResourceMetrics] = []


class LogRecord(Message, frozen=True, kw_only=True, rename="camel"):
    """A record of a log."""

    time_unix_nano: int = 0
    observed_time_unix_nano: int = 0
    severity_number: Int64 = 0
    severity_text: str = ""
    body: AnyValue = AnyValue()
    attributes: list[KeyValue] = []
    trace_id: str | None = ""
    span_id: str | None = ""
    event_name: str = ""


class ScopeLogs(Message, frozen=True, kw_only=True, rename="camel"):
    """Records of a library."""

    scope: InstrumentationScope = InstrumentationScope()
    log_records: list[LogRecord] = []


class ResourceLogs(Message, frozen=True, kw_only=True, rename="camel"):
    """Records of a sender."""

    resource: Resource = Resource()
    scope_logs: list[ScopeLogs] = []


class LogsRequest(Message, frozen=True, kw_only=True, rename="camel"):
    """ExportLogsServiceRequest."""

    resource_logs: list[ResourceLogs] = []
