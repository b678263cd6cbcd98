"""Bodies of OTLP requests: inflated under a bound, then decoded; answers encoded.

The only importer of OpenTelemetry's messages, on the first request in protobuf: 65 ms and 2 MiB
that no other daemon pays. Refuses to look into what it decoded.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import msgspec

from stackctl.errors import Invalid, TooLarge
from stackctl_daemon.analytics.otlp import census, messages

Signal = Literal["traces", "metrics", "logs"]
MAX_BYTES = 16 << 20
"""Of a body, and of one inflated; SDKs send 512 records at once by default."""
PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_STEP = 1 << 20
_REJECTED = {
    "traces": "rejectedSpans",
    "metrics": "rejectedDataPoints",
    "logs": "rejectedLogRecords",
}
# Lax: 64-bit integers come as text, and NaN and Infinity do.
_JSON_DECODERS: dict[Signal, msgspec.json.Decoder[Any]] = {
    "traces": msgspec.json.Decoder(messages.TraceRequest, strict=False),
    "metrics": msgspec.json.Decoder(messages.MetricsRequest, strict=False),
    "logs": msgspec.json.Decoder(messages.LogsRequest, strict=False),
}


class UnsupportedType(Invalid):
    """The body is of a type that OTLP does not have."""

    status = 415


def media_type(header: str) -> str:
    """Give the content type without its parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def inflate(body: bytes, coding: str, *, limit: int = MAX_BYTES) -> bytes:
    """Undo a content coding (``gzip`` or ``identity``), a piece at a time.

    Raises:
        TooLarge: it is above ``limit``; what lies beyond was never inflated.
        Invalid: it is not gzip, or was cut off.
    """
    if coding == "identity":
        return body
    found: list[bytes] = []
    size, left = 0, body
    while left:  # a gzip file may have several members (RFC 1952, section 2.2)
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                piece = member.decompress(left, _STEP)
            except zlib.error as err:
                raise Invalid(f"the body is not gzip: {err}") from err
            left = member.unconsumed_tail
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the body inflates to more than {limit} bytes")
            found.append(piece)
            if not piece and not left and not member.eof:
                raise Invalid("the body's gzip is cut off")
        left = member.unused_data
    if not found:
        raise Invalid("the body is empty, expected gzip")
    return b"".join(found)


def decode(signal: Signal, kind: str, body: bytes) -> Any:
    """Give the export request: a protobuf message or a Struct with the same attributes.

    Raises:
        UnsupportedType: the content type is neither protobuf nor JSON.
        Invalid: the body is malformed; text that is not UTF-8 is, too.
        TooLarge: it holds more records than are taken at once.
    """
    if kind == JSON:
        census.check_json(body)
        try:
            return _JSON_DECODERS[signal].decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            raise Invalid(f"the OTLP/JSON body is malformed: {err}") from err
    if kind != PROTOBUF:
        raise UnsupportedType(f'the content type "{kind[:80]}", expected {PROTOBUF} or {JSON}')
    census.check_protobuf(signal, body)
    return _protobuf(signal, body)


def success(signal: Signal, kind: str, rejected: int, message: str) -> bytes:
    """Encode an export response; with a message or rejected records it is a partial success."""
    if kind == JSON:
        if not rejected and not message:
            return b"{}"
        partial = {_REJECTED[signal]: str(rejected), "errorMessage": message}
        return msgspec.json.encode({"partialSuccess": partial})
    if not rejected and not message:
        return b""
    inner = _integer(1, rejected) + _text(2, message)
    return _field(1, inner)


def status(code: int, message: str) -> bytes:
    """Encode a ``google.rpc.Status``."""
    return _integer(1, code) + _text(2, message)


def _protobuf(signal: Signal, body: bytes) -> Any:
    # Deferred: see the module's docstring.
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    kinds: dict[Signal, Any] = {
        "traces": trace_service_pb2.ExportTraceServiceRequest,
        "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
        "logs": logs_service_pb2.ExportLogsServiceRequest,
    }
    try:
        return kinds[signal].FromString(body)
    except DecodeError as err:
        reason = str(err).rpartition(": ")[2]
        raise Invalid(f"the OTLP protobuf body is malformed: {reason}") from err


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8", "replace")) if text else b""
