"""Every signal in both encodings: what protobuf gives, its JSON gives too."""

from __future__ import annotations

import base64
import math
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stackctl.contracts.event import Event
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.otlp import decode, logs, metrics, spans
from stackctl_daemon.analytics.otlp.decode import JSON, PROTOBUF, Signal
from stackctl_daemon.analytics.otlp.record import Batch

NOW_US = 1_790_000_000_000_000
NOW_NS = NOW_US * 1000
_RECORDS = {"traces": spans.records, "metrics": metrics.records, "logs": logs.records}


def _json(message: Any) -> bytes:
    """Give OTLP's JSON: protobuf's, but ids in hexadecimal and enums as integers."""
    found = json_format.MessageToDict(message, use_integers_for_enums=True)

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        ids = ("traceId", "spanId", "parentSpanId")
        return {k: base64.b64decode(v).hex() if k in ids else walk(v) for k, v in value.items()}

    return msgspec.json.encode(walk(found))


def _convert(signal: Signal, message: Any, now_us: int = NOW_US) -> tuple[list[Event], Batch]:
    """Convert both encodings, which must agree, and what the store can take."""
    results = []
    for kind, raw in ((PROTOBUF, message.SerializeToString()), (JSON, _json(message))):
        batch = Batch(now_us, uid=7)
        request = decode.decode(signal, kind, raw)
        results.append(([r.event for r in _RECORDS[signal](request, batch)], batch))
    (ours, batch), (theirs, other) = results
    assert ours == theirs
    assert (batch.rejected, batch.truncated) == (other.rejected, other.truncated)
    encode_frame(ours)
    return ours, batch


def _traces(**fields: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    ids: dict[str, Any] = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "work"}
    request.resource_spans.add().scope_spans.add().spans.add(**(ids | fields))
    return request


def test_a_span_that_ends_before_it_began_takes_no_time_and_says_so() -> None:
    [event], _ = _convert(
        "traces", _traces(start_time_unix_nano=NOW_NS, end_time_unix_nano=NOW_NS - 1000)
    )

    assert (event.duration_s, event.time_us) == (0.0, NOW_US)
    assert event.attributes["clock_skew"] is True


def test_a_span_of_another_year_keeps_what_it_said() -> None:
    far = NOW_NS + 400 * 86_400 * 10**9
    [event], _ = _convert(
        "traces", _traces(start_time_unix_nano=far, end_time_unix_nano=far + 10**9)
    )

    assert (event.time_us, event.duration_s) == (NOW_US, 1.0)
    assert event.attributes["sent_time_us"] == far // 1000


@pytest.mark.parametrize(
    "ids", [{"trace_id": b""}, {"trace_id": bytes(16)}, {"span_id": b"short"}, {"span_id": b""}]
)
def test_a_span_without_its_ids_is_rejected_and_counted(ids: dict[str, bytes]) -> None:
    events, batch = _convert("traces", _traces(**ids))

    assert events == []
    assert batch.rejected == 1
    assert "trace_id of 16 bytes" in batch.reason


def test_a_nameless_span_and_one_of_a_long_name_are_stored() -> None:
    [nameless], _ = _convert("traces", _traces(name=""))
    [long], _ = _convert("traces", _traces(name="x" * 5000))

    assert nameless.name == "unnamed"
    assert long.name == "x" * 256


def test_events_of_a_span_are_bounded() -> None:
    request = _traces()
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for number in range(100):
        span.events.add(name=f"e{number}", time_unix_nano=number * 1000)

    [event], _ = _convert("traces", request)

    assert event.attributes["event_count"] == 100
    assert len(event.attributes["events"]) == spans.MAX_EVENTS


def _metric(**fields: Any) -> tuple[ExportMetricsServiceRequest, Any]:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    return request, group.scope_metrics.add().metrics.add(**({"name": "m"} | fields))


@given(st.floats(width=64))
def test_any_number_is_a_value(value: float) -> None:
    request, metric = _metric(unit="s")
    metric.gauge.data_points.add(time_unix_nano=NOW_NS, as_double=value)

    [event], _ = _convert("metrics", request)

    found = event.attributes["value"]
    assert found == "NaN" if math.isnan(value) else float(found) == value
    assert (event.attributes["type"], event.attributes["unit"]) == ("gauge", "s")
    assert event.attributes["service"] == "shop"


def test_points_without_a_value_and_metrics_without_a_name() -> None:
    request, metric = _metric()
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(time_unix_nano=NOW_NS, flags=1)
    nameless = request.resource_metrics[0].scope_metrics[0].metrics.add()
    nameless.gauge.data_points.add(as_int=1)
    nameless.gauge.data_points.add(as_int=2)

    [event], batch = _convert("metrics", request)

    assert event.attributes["no_recorded_value"] is True
    assert "value" not in event.attributes
    assert batch.rejected == 2


def test_histograms_of_every_kind() -> None:
    request, metric = _metric()
    metric.histogram.aggregation_temporality = 1
    metric.histogram.data_points.add(
        count=6, sum=12.5, explicit_bounds=[1, 5], bucket_counts=[1, 2, 3], min=0.5, max=9
    )
    other = request.resource_metrics[0].scope_metrics[0].metrics.add(name="e")
    point = other.exponential_histogram.data_points.add(count=3, scale=2, zero_count=1)
    point.positive.offset = -4
    point.positive.bucket_counts.extend([1, 1])
    third = request.resource_metrics[0].scope_metrics[0].metrics.add(name="s")
    third.summary.data_points.add(count=2, sum=3).quantile_values.add(quantile=0.5, value=1.5)

    explicit, exponential, summary = (
        event.attributes for event in _convert("metrics", request)[0]
    )

    assert explicit["buckets"] == [1, 2, 3]
    assert (explicit["count"], explicit["sum"], explicit["max"]) == (6, 12.5, 9)
    assert explicit["temporality"] == "delta"
    assert (exponential["positive"], exponential["positive_offset"]) == ([1, 1], -4)
    assert "sum" not in exponential
    assert summary["quantiles"] == [[0.5, 1.5]]


def test_a_histogram_of_a_thousand_buckets_is_cut_openly() -> None:
    request, metric = _metric()
    metric.histogram.data_points.add(
        count=1001, explicit_bounds=range(1000), bucket_counts=[1] * 1001
    )

    [event], _ = _convert("metrics", request)

    assert len(event.attributes["buckets"]) == metrics.MAX_BUCKETS + 1
    assert event.attributes["buckets_left_out"] == 1001 - metrics.MAX_BUCKETS - 1
    assert event.attributes["truncated"] is True
    assert (event.items, event.attributes["count"]) == (1001, 1001)


def _log(**fields: Any) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**fields)
    return request


@pytest.mark.parametrize(
    ("number", "text", "name", "outcome"),
    [
        (0, "", "UNSPECIFIED", "ok"),
        (9, "info", "INFO", "ok"),
        (16, "", "WARN", "ok"),
        (17, "", "ERROR", "error"),
        (24, "", "FATAL", "error"),
        (0, "Critical", "CRITICAL", "error"),
        (0, "x" * 900, "X" * 256, "ok"),
    ],
)
def test_the_severity_is_the_name(number: int, text: str, name: str, outcome: str) -> None:
    [event], _ = _convert("logs", _log(severity_number=number, severity_text=text))

    assert (event.name, event.outcome) == (name, outcome)
    assert event.time_us == NOW_US


def test_a_log_of_a_megabyte_is_cut_and_counted() -> None:
    request = _log(observed_time_unix_nano=NOW_NS - 5000, trace_id=b"t" * 16)
    body = request.resource_logs[0].scope_logs[0].log_records[0].body
    body.string_value = "line\n\x00" * 200_000

    [event], batch = _convert("logs", request)

    assert batch.truncated == 1
    assert event.attributes["body"].startswith("line\n\x00line")
    assert event.attributes["truncated_bytes"] > 1_000_000
    assert (event.request_id, event.time_us) == ((b"t" * 16).hex(), NOW_US - 5)


def test_two_equal_logs_of_a_batch_stay_two() -> None:
    request = _log(time_unix_nano=NOW_NS)
    group = request.resource_logs[0].scope_logs[0]
    group.log_records.add(time_unix_nano=NOW_NS)

    first, _ = _convert("logs", request)
    again, _ = _convert("logs", request)

    assert len({event.id for event in first}) == 2
    assert first == again


def test_logs_without_a_time_are_told_apart_by_when_they_came() -> None:
    first, _ = _convert("logs", _log())
    later, _ = _convert("logs", _log(), NOW_US + 1)

    assert first[0].id != later[0].id
