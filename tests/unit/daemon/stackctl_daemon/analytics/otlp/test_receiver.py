from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from stackctl.contracts.event import Event
from stackctl.errors import DiskFull, Overloaded
from stackctl_daemon.analytics.otlp import receiver as module
from stackctl_daemon.analytics.otlp.decode import JSON, PROTOBUF
from stackctl_daemon.analytics.otlp.errors import ERRORS, NotNow
from stackctl_daemon.analytics.otlp.receiver import PIECE_BYTES, PIECE_RECORDS, Receiver


class Sink:
    """Keeps batches; blocks on ``gate`` and fails where it is told to."""

    def __init__(self, *, fail_at: int = -1) -> None:
        self.batches: list[list[Event]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail_at = fail_at

    async def record(self, events: Sequence[Event]) -> None:
        await self.gate.wait()
        if len(self.batches) == self.fail_at:
            raise DiskFull("no space left", hint="df -h")
        self.batches.append(list(events))

    def emit(self, event: Event) -> None:
        raise AssertionError("what was sent must be durable")


def points(count: int, text: str = "") -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number in range(count):
        point = metric.gauge.data_points.add(as_int=number, time_unix_nano=1 + number)
        if text:
            point.attributes.add(key="text").value.string_value = text
    return bytes(request.SerializeToString())


def test_a_large_batch_is_split_by_records_and_by_bytes() -> None:
    async def main() -> None:
        sink = Sink()
        receiver = Receiver(sink, clock=lambda: 1000.0)
        many = await receiver.take("metrics", PROTOBUF, "identity", points(12_000), 5)
        assert [len(batch) for batch in sink.batches] == [PIECE_RECORDS, PIECE_RECORDS, 2000]
        assert many.stored == 12_000
        assert {event.uid for batch in sink.batches for event in batch} == {5}
        sink.batches.clear()
        await receiver.take("metrics", PROTOBUF, "identity", points(2000, "x" * 7000), 5)
        assert max(len(batch) for batch in sink.batches) < PIECE_BYTES // 7000 + 1
        assert sum(len(batch) for batch in sink.batches) == 2000
        assert receiver.taken["metrics"].stored == 14_000
        await receiver.close()

    asyncio.run(main())


def test_a_full_disk_halfway_asks_the_client_to_send_again() -> None:
    async def main() -> None:
        sink = Sink(fail_at=1)
        receiver = Receiver(sink)
        with pytest.raises(NotNow) as caught:
            await receiver.take("metrics", PROTOBUF, "identity", points(6000), 0)
        assert (caught.value.status, caught.value.code) == (503, "disk_full")
        assert caught.value.retry_after_s
        first = [event.id for event in sink.batches[0]]
        sink.fail_at = -1
        sink.batches.clear()
        await receiver.take("metrics", PROTOBUF, "identity", points(6000), 0)
        assert [event.id for event in sink.batches[0]] == first
        await receiver.close()

    asyncio.run(main())


def test_more_than_wait_already_are_refused_at_once() -> None:
    async def main() -> None:
        sink = Sink()
        sink.gate.clear()
        receiver = Receiver(sink)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(receiver.take("metrics", PROTOBUF, "identity", points(1), 0))
                for _ in range(module.MAX_WAITING)
            ]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as caught:
                await receiver.take("logs", JSON, "identity", b"{}", 0)
            assert caught.value.retry_after_s == 1.0
            sink.gate.set()
        assert [task.result().stored for task in tasks] == [1] * module.MAX_WAITING
        # Room again.
        assert (await receiver.take("logs", JSON, "identity", b"{}", 0)).stored == 0
        await receiver.close()

    asyncio.run(main())


def test_errors_are_statuses_in_the_requests_encoding() -> None:
    error = Overloaded("busy", retry_after_s=1.0)
    made = ERRORS.make(error, "r1", 429)
    assert ERRORS.encode is not None

    raw, kind = ERRORS.encode(made, {"content-type": "application/x-protobuf"})
    text, plain = ERRORS.encode(made, {})

    assert (kind, plain) == (PROTOBUF, JSON)
    assert raw == b"\x08\x08\x12\x11busy [request r1]"
    assert text == b'{"code":8,"message":"busy [request r1]"}'
