"""Metric points as events, one each; refuses to sum or to convert them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackctl_daemon.analytics.otlp.record import (
    MAX_NAME,
    MAX_TEXT,
    Batch,
    Record,
    Sender,
    attributes,
    count,
    microseconds,
    number,
    text,
)

MAX_BUCKETS = 160
"""Buckets of a histogram that are kept: what SDKs give at most by default."""
_TEMPORALITY = {1: "delta", 2: "cumulative"}
_NO_VALUE = 1  # DataPointFlags: the series has ended, or could not be read


def records(request: Any, batch: Batch) -> Iterator[Record]:
    """Give the points of an ExportMetricsServiceRequest, in order."""
    for group in request.resource_metrics:
        for scoped in group.scope_metrics:
            sender = Sender(group.resource, scoped.scope)
            for metric in scoped.metrics:
                yield from _points(metric, sender, batch)


def _points(metric: Any, sender: Sender, batch: Batch) -> Iterator[Record]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    if not metric.name:
        batch.reject("a metric needs a name", len(data.data_points))
        return
    common = sender.own() | {"type": kind}
    if metric.unit:
        common["unit"] = metric.unit[:MAX_TEXT]
    if kind in ("sum", "histogram", "exponential_histogram"):
        common["temporality"] = _TEMPORALITY.get(data.aggregation_temporality, "unspecified")
    if kind == "sum":
        common["monotonic"] = data.is_monotonic
    for point in data.data_points:
        sent = attributes(point.attributes)
        value = _value(kind, point)
        own = common | value
        if point.start_time_unix_nano:
            own["start_time_us"] = microseconds(point.start_time_unix_nano)
        at = point.time_unix_nano
        yield batch.record(
            own,
            sent | sender.rest,
            id="metric-" + batch.id(metric.name, at, common, value, sent, sender.rest),
            kind="metric",
            name=text(metric.name, MAX_NAME),
            time_us=batch.time(at, own),
            items=value.get("count", 0),
            model=text(sent.get("gen_ai.request.model") or ""),
        )


def _value(kind: str, point: Any) -> dict[str, Any]:
    if point.flags & _NO_VALUE:
        return {"no_recorded_value": True}
    if kind in ("gauge", "sum"):
        field = point.WhichOneof("value")
        value = getattr(point, field) if field is not None else 0
        return {"value": number(value) if field == "as_double" else value}
    found: dict[str, Any] = {"count": count(point.count)}
    if kind == "summary":
        pairs = point.quantile_values[:MAX_BUCKETS]
        found["sum"] = number(point.sum)
        found["quantiles"] = [[number(p.quantile), number(p.value)] for p in pairs]
        return found
    for name in ("sum", "min", "max"):
        if point.HasField(name):
            found[name] = number(getattr(point, name))
    return found | (_explicit(point) if kind == "histogram" else _exponential(point))


def _explicit(point: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bounds": [number(bound) for bound in point.explicit_bounds[:MAX_BUCKETS]],
        "buckets": list(point.bucket_counts[: MAX_BUCKETS + 1]),
    }
    return found | _left_out(len(point.bucket_counts) - MAX_BUCKETS - 1)


def _exponential(point: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"scale": point.scale, "zero_count": point.zero_count}
    left_out = 0
    for name in ("positive", "negative"):
        buckets = getattr(point, name)
        if buckets.bucket_counts:
            found[f"{name}_offset"] = buckets.offset
            found[name] = list(buckets.bucket_counts[:MAX_BUCKETS])
            left_out += max(0, len(buckets.bucket_counts) - MAX_BUCKETS)
    return found | _left_out(left_out)


def _left_out(buckets: int) -> dict[str, Any]:
    return {"truncated": True, "buckets_left_out": buckets} if buckets > 0 else {}
