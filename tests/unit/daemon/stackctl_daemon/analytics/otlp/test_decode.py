from __future__ import annotations

import gzip
import zlib

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from stackctl.errors import Invalid, TooLarge
from stackctl_daemon.analytics.otlp import decode
from stackctl_daemon.analytics.otlp.decode import JSON, PROTOBUF, Signal


@given(st.binary(max_size=5000), st.integers(0, 3))
def test_gzip_of_one_or_several_members_is_undone(data: bytes, cut: int) -> None:
    members = gzip.compress(data[:cut]) + gzip.compress(data[cut:])

    assert decode.inflate(gzip.compress(data), "gzip") == data
    assert decode.inflate(members, "gzip") == data
    assert decode.inflate(data, "identity") == data


@pytest.mark.parametrize("over", [0, 1])
def test_the_bound_is_exact(over: int) -> None:
    body = gzip.compress(bytes(1000 + over))
    if over:
        with pytest.raises(TooLarge, match="more than 1000 bytes"):
            decode.inflate(body, "gzip", limit=1000)
    else:
        assert len(decode.inflate(body, "gzip", limit=1000)) == 1000


def test_a_bomb_is_not_inflated_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(400 << 20), 9)
    asked: list[int] = []
    plain = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._one = plain(wbits=wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            asked.append(most)
            return self._one.decompress(data, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self._one, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)

    with pytest.raises(TooLarge):
        decode.inflate(bomb, "gzip")
    assert sum(asked) <= decode.MAX_BYTES + (1 << 20)


@given(st.binary(max_size=200))
def test_what_is_no_gzip_is_invalid(data: bytes) -> None:
    try:
        found = decode.inflate(data, "gzip")
    except Invalid:
        return
    assert gzip.decompress(data) == found


def test_gzip_that_was_cut_off_is_invalid() -> None:
    whole = gzip.compress(b"a" * 1000)

    for size in (0, 1, 9, len(whole) // 2, len(whole) - 1):
        with pytest.raises(Invalid):
            decode.inflate(whole[:size], "gzip")


@given(st.binary(max_size=300))
@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
def test_any_bytes_decode_or_are_invalid(signal: Signal, kind: str, data: bytes) -> None:
    try:
        found = decode.decode(signal, kind, data)
    except Invalid:
        return
    assert hasattr(found, f"resource_{'spans' if signal == 'traces' else signal}")


def test_text_that_is_not_utf8_is_invalid() -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="abcdef")
    raw = request.SerializeToString().replace(b"abcdef", b"abc\xff\xfef")

    with pytest.raises(Invalid, match="malformed"):
        decode.decode("traces", PROTOBUF, raw)
    with pytest.raises(Invalid, match="malformed"):
        decode.decode(
            "traces",
            JSON,
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\xff"}]}]}]}',
        )


def test_another_type_is_refused_with_what_is_expected() -> None:
    with pytest.raises(decode.UnsupportedType, match="application/x-protobuf or") as caught:
        decode.decode("logs", decode.media_type("Text/Plain; charset=utf-8"), b"")

    assert caught.value.status == 415


@given(st.integers(0, 2**40), st.text(max_size=300))
def test_answers_are_read_by_the_protocols_own_messages(rejected: int, message: str) -> None:
    traces = ExportTraceServiceResponse.FromString(
        decode.success("traces", PROTOBUF, rejected, message)
    )
    logs = ExportLogsServiceResponse.FromString(
        decode.success("logs", PROTOBUF, rejected, message)
    )
    told = Status.FromString(decode.status(rejected % 17, message))

    assert traces.partial_success.rejected_spans == rejected
    assert traces.partial_success.error_message == message
    assert logs.partial_success.rejected_log_records == rejected
    assert (told.code, told.message) == (rejected % 17, message)


def test_a_whole_success_says_nothing() -> None:
    assert decode.success("metrics", PROTOBUF, 0, "") == b""
    assert decode.success("metrics", JSON, 0, "") == b"{}"
