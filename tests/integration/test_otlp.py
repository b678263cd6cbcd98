"""OpenTelemetry's own SDK, unchanged, sends to a real daemon, and what it sent is read back."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import duckdb
import pytest
from harness import Stack

pytest.importorskip("opentelemetry.sdk", reason="the test extra has it")

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

RESOURCE = Resource.create({"service.name": "shop", "deployment.environment": "test"})
PROTOBUF = "application/x-protobuf"


class Port(NamedTuple):
    """The API's port of a running stack."""

    stack: Stack
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def post(
        self, path: str, body: bytes, kind: str, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        try:
            fields = {"Content-Type": kind, "Authorization": f"Bearer {self.token}"}
            fields |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, fields)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()
        finally:
            connection.close()

    def events(self, where: str) -> list[dict[str, Any]]:
        """End the daemon, so that everything is in its database, and read it there."""
        self.stack.stop()
        path = self.stack.home / "data" / "analytics" / "analytics.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            cursor = connection.execute(f"FROM events WHERE {where} ORDER BY time_us, id")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            row["attributes"] = json.loads(row["attributes"])
        return rows


@pytest.fixture
def port() -> Iterator[Port]:
    with Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = json.loads(stack.cli("api", "token", "--json").stdout)["token"]
        yield Port(stack, url, token)


def _exporter(kind: Any, port: Port, signal: str, prefix: str = "/otlp", **more: Any) -> Any:
    return kind(endpoint=f"{port.url}{prefix}/v1/{signal}", headers=port.headers, **more)


def test_spans_of_the_sdk_are_read_back(port: Port) -> None:
    provider = TracerProvider(resource=RESOURCE)
    exporter = _exporter(OTLPSpanExporter, port, "traces", compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop.tests")
    began = time.time_ns() - 5_000_000_000
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as parent:
        child = tracer.start_span(
            "chat llama3.2",
            kind=SpanKind.CLIENT,
            start_time=began,
            attributes={
                "gen_ai.request.model": "llama3.2",
                "gen_ai.usage.input_tokens": 120,
                "gen_ai.usage.output_tokens": 45,
                "gen_ai.response.finish_reasons": ["stop"],
            },
        )
        child.set_status(StatusCode.ERROR, "engine gone")
        child.record_exception(ConnectionError("refused"))
        child.end(end_time=began + 1_250_000_000)
    for number in range(998):
        tracer.start_span(f"step {number % 7}").end()
    assert provider.force_flush()
    provider.shutdown()

    found = port.events("kind = 'span'")

    assert len(found) == 1000
    [chat] = [row for row in found if row["name"] == "chat llama3.2"]
    order = next(row for row in found if row["name"] == "order")
    trace = f"{parent.get_span_context().trace_id:032x}"
    assert (chat["time_us"], chat["duration_s"]) == (began // 1000, 1.25)
    assert (chat["outcome"], chat["error_code"]) == ("error", "ConnectionError")
    assert (chat["tokens"], chat["model"], chat["request_id"]) == (165, "llama3.2", trace)
    told = chat["attributes"]
    assert told["trace_id"] == trace
    assert told["parent_span_id"] == order["attributes"]["span_id"]
    assert (told["service"], told["scope"], told["kind"]) == ("shop", "shop.tests", "client")
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["resource.deployment.environment"] == "test"
    assert told["status_message"] == "engine gone"
    assert (order["outcome"], order["attributes"]["kind"]) == ("ok", "server")


def test_an_export_sent_again_is_stored_once(port: Port) -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(1, 301):
        spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name="again",
            start_time_unix_nano=time.time_ns(),
        )
    raw = request.SerializeToString()

    for path in ("/v1/traces", "/otlp/v1/traces"):
        assert port.post(path, raw, PROTOBUF)[::2] == (200, b"")
    port.stack.kill9()
    port.stack.start()

    assert len(port.events("kind = 'span'")) == 300


def test_metrics_of_the_sdk_are_read_back(port: Port) -> None:
    exporter = _exporter(OTLPMetricExporter, port, "metrics", prefix="")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=600_000)
    provider = MeterProvider([reader], resource=RESOURCE)
    meter = provider.get_meter("shop.tests")
    counter = meter.create_counter("orders", unit="{order}")
    counter.add(3, {"shop": "north"})
    counter.add(4, {"shop": "north"})
    counter.add(1, {"shop": "south"})
    meter.create_gauge("temperature", unit="Cel").set(21.5)
    durations = meter.create_histogram(
        "latency", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
    )
    for value in (0.05, 0.5, 0.6, 3.0):
        durations.record(value)
    assert provider.force_flush()
    provider.shutdown()

    found = port.events("kind = 'metric'")

    # Shutting down exports once more: points of another time.
    by = {(row["name"], row["attributes"].get("shop")): row["attributes"] for row in found}
    assert by["orders", "north"]["value"] == 7
    assert by["orders", "south"]["value"] == 1
    assert (
        by["orders", "north"] | {"unit": "{order}", "type": "sum", "monotonic": True}
        == (by["orders", "north"])
    )
    assert (by["temperature", None]["value"], by["temperature", None]["type"]) == (21.5, "gauge")
    latency = by["latency", None]
    assert (latency["count"], latency["sum"]) == (4, pytest.approx(4.15))
    assert (latency["bounds"], latency["buckets"]) == ([0.1, 1.0], [1, 2, 1])
    assert (latency["min"], latency["max"]) == (0.05, 3.0)
    assert latency["service"] == "shop"


def test_logs_of_the_sdk_are_read_back(port: Port) -> None:
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(
        SimpleLogRecordProcessor(_exporter(OTLPLogExporter, port, "logs"))
    )
    logger = provider.get_logger("shop.tests")
    at = time.time_ns()
    for severity, body in (
        (SeverityNumber.INFO, "order taken"),
        (SeverityNumber.ERROR2, {"why": "no stock", "left": 0}),
    ):
        logger.emit(
            LogRecord(
                timestamp=at, severity_number=severity, body=body, attributes={"order.id": "a-17"}
            )
        )
    provider.shutdown()

    found = {row["name"]: row for row in port.events("kind = 'log'")}

    assert set(found) == {"INFO", "ERROR"}
    assert found["INFO"]["attributes"]["body"] == "order taken"
    assert found["ERROR"]["attributes"]["body"] == {"why": "no stock", "left": 0}
    assert (found["INFO"]["outcome"], found["ERROR"]["outcome"]) == ("ok", "error")
    assert {row["time_us"] for row in found.values()} == {at // 1000}
    assert found["INFO"]["attributes"]["order.id"] == "a-17"


def test_a_hundred_thousand_points_are_counted_exactly(port: Port) -> None:
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    now = time.time_ns()
    for number in range(100_000):
        point = metric.gauge.data_points.add(time_unix_nano=now + number, as_int=number)
        point.attributes.add(key="core").value.int_value = number % 64
    raw = gzip.compress(request.SerializeToString(), 1)

    for _ in range(2):
        answer = port.post("/v1/metrics", raw, PROTOBUF, Content_Encoding="gzip")
        assert answer[::2] == (200, b"")

    found = port.events("kind = 'metric' AND name = 'load'")
    assert sorted(row["attributes"]["value"] for row in found) == list(range(100_000))


def test_what_was_acknowledged_survives_kills_and_is_there_once(port: Port) -> None:
    """A client that sends until it is told 200, across two kills of the daemon."""
    acknowledged: set[str] = set()
    kills = {7, 15}
    for batch in range(24):
        ids = [f"{batch * 100 + n + 1:016x}" for n in range(100)]
        spans = [
            {
                "traceId": "ab" * 16,
                "spanId": i,
                "name": "s",
                "startTimeUnixNano": str(time.time_ns()),
            }
            for i in ids
        ]
        body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        assert port.stack.ok("POST", "/otlp/v1/traces", body) == {}
        acknowledged |= set(ids)
        if batch in kills:
            port.stack.kill9()
            port.stack.start()
            # The answer might have been lost: it is sent again.
            port.stack.ok("POST", "/otlp/v1/traces", body)

    found = port.events("kind = 'span'")

    assert len(found) == 2400
    assert {row["attributes"]["span_id"] for row in found} == acknowledged


def test_the_control_socket_takes_json_too(port: Port) -> None:
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "name": "json",
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000",
        "attributes": [{"key": "n", "value": {"intValue": "9007199254740993"}}],
        "someNewField": 1,
    }
    bad = span | {"spanId": "00"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span, bad]}]}]}

    reply = port.stack.ok("POST", "/otlp/v1/traces", body)

    assert reply["partialSuccess"]["rejectedSpans"] == "1"
    [row] = port.events("kind = 'span'")
    assert row["request_id"] == "5b8efff798038103d269b633813fc60c"
    assert (row["time_us"], row["duration_s"]) == (1544712660000000, 1.0)
    assert row["attributes"]["n"] == 9007199254740993


def _nested(number: int, data: bytes) -> bytes:
    """Give a field of a message, as protobuf writes it."""
    size, left = bytearray(), len(data)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    size.append(left)
    return bytes([number << 3 | 2]) + bytes(size) + data


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, {}, 400),
        (b"{", "application/json", {}, 400),
        (b'{"resourceSpans": 3}', "application/json", {}, 400),
        (b"[" * 100_000, "application/json", {}, 400),
        (b"x", "text/plain", {}, 415),
        (b"x", PROTOBUF, {"Content_Encoding": "br"}, 415),
        (b"no gzip", PROTOBUF, {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(bytes(64 << 20)), PROTOBUF, {"Content_Encoding": "gzip"}, 413),
        (bytes(17 << 20), PROTOBUF, {}, 413),
        # A body of two bytes a span would take a hundred times its size.
        (_nested(1, _nested(2, b"\x12\x00" * 1_000_000)), PROTOBUF, {}, 413),
        (b'{"resourceSpans":[' + b"{}," * 1_000_001 + b"{}]}", "application/json", {}, 413),
        (b"", PROTOBUF, {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_what_is_wrong_is_answered_as_a_status(
    shared_port: Port, body: bytes, kind: str, headers: dict[str, str], status: int
) -> None:
    answer = shared_port.post("/v1/traces", body, kind, **headers)

    assert answer[0] == status
    if kind == PROTOBUF:
        from google.rpc.status_pb2 import Status

        assert answer[1]["content-type"] == PROTOBUF
        told = Status.FromString(answer[2])
        assert told.code
        assert told.message
    else:
        assert answer[1]["content-type"] == "application/json"
        assert set(json.loads(answer[2])) == {"code", "message"}
    assert shared_port.stack.ok("GET", "/v1/health")["ok"]


@pytest.fixture(scope="module")
def shared_port() -> Iterator[Port]:
    with Stack(model=False, env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as stack:
        url = stack.ok("GET", "/v1/status")["api_url"]
        token = json.loads(stack.cli("api", "token", "--json").stdout)["token"]
        yield Port(stack, url, token)
