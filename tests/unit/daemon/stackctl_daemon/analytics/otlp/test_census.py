from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from stackctl.errors import Invalid, TooLarge
from stackctl_daemon.analytics.otlp.census import check_json, check_protobuf


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4))
def test_every_message_down_to_the_records_is_counted(groups: list[list[int]]) -> None:
    request = ExportLogsServiceRequest()
    for scopes in groups:
        group = request.resource_logs.add()
        group.resource.attributes.add(key="a")
        for count in scopes:
            scope = group.scope_logs.add()
            for number in range(count):
                scope.log_records.add(time_unix_nano=number, severity_text="x" * 200)
    expected = len(groups) + sum(len(scopes) + sum(scopes) for scopes in groups)

    assert check_protobuf("logs", request.SerializeToString()) == expected


def test_points_of_every_kind_count_and_the_limit_is_exact() -> None:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        getattr(scope.metrics.add(name=kind), kind).data_points.add(time_unix_nano=1)
    raw = request.SerializeToString()

    # A resource, a scope, and each time the metric, its data, its point.
    assert check_protobuf("metrics", raw, limit=17) == 17
    with pytest.raises(TooLarge, match="more than 16 records"):
        check_protobuf("metrics", raw, limit=16)


@given(st.binary(max_size=200))
def test_what_protobuf_takes_is_counted(data: bytes) -> None:
    try:
        ExportLogsServiceRequest.FromString(data)
    except Exception:
        return
    try:
        assert check_protobuf("logs", data) >= 0
    except Invalid as err:
        assert "wire type" in err.message  # groups: legal, but not in OTLP


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\xff" * 20, b"\x0b\x0c", b"\x0a"])
def test_a_broken_wire_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid, match="malformed"):
        check_protobuf("traces", data)


def test_objects_of_json_are_bounded() -> None:
    assert check_json(b"[{},{}]", limit=2) == 2
    with pytest.raises(TooLarge, match="3 objects, at most 2"):
        check_json(b"[{},{},{}]", limit=2)
