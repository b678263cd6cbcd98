"""Takes export requests: decodes them off the loop, in turn, and stores them in pieces.

Refuses to answer before every record is on disk. A request that fails halfway is sent again as a
whole, and what was stored of it is recognised by its ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from stackctl.contracts.event import Event
from stackctl.errors import Failed, Overloaded
from stackctl_daemon.analytics.otlp import decode, logs, metrics, spans
from stackctl_daemon.analytics.otlp.decode import Signal
from stackctl_daemon.analytics.otlp.errors import not_now
from stackctl_daemon.analytics.otlp.record import Batch, Record
from stackctl_daemon.events import EventSink

MAX_WAITING = 8
"""Requests that wait for their turn or have it; each holds up to `decode.MAX_BYTES`."""
PIECE_RECORDS = 5000
PIECE_BYTES = 4 << 20
_RECORDS: dict[Signal, Callable[[Any, Batch], Iterator[Record]]] = {
    "traces": spans.records,
    "metrics": metrics.records,
    "logs": logs.records,
}


class Taken(msgspec.Struct):
    """What came in of a signal since the start."""

    stored: int = 0
    """Records that were acknowledged; one that was sent twice counts twice."""
    rejected: int = 0
    truncated: int = 0
    """Stored with attributes cut to 8 KiB."""


class Receiver:
    """One queue for all signals, in front of the event store.

    Args:
        sink: where events go.
        clock: seconds since the epoch.
    """

    def __init__(self, sink: EventSink, *, clock: Callable[[], float] = time.time) -> None:
        self.taken: dict[Signal, Taken] = {signal: Taken() for signal in _RECORDS}
        self._sink = sink
        self._clock = clock
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="otlp-decode")

    async def take(self, signal: Signal, kind: str, coding: str, body: bytes, uid: int) -> Batch:
        """Store the records of a body; return when they are on disk.

        Raises:
            Invalid: the body is malformed.
            TooLarge: it inflates to more than 16 MiB.
            Overloaded: too many requests wait.
            NotNow: the store cannot take them now.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} exports wait already", retry_after_s=1.0)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._store(signal, kind, coding, body, uid)
        except Failed as err:
            raise not_now(err) from err
        finally:
            self._waiting -= 1

    async def _store(self, signal: Signal, kind: str, coding: str, body: bytes, uid: int) -> Batch:
        loop = asyncio.get_running_loop()
        batch = Batch(now_us=int(self._clock() * 1e6), uid=uid)

        def begin() -> Iterator[Record]:
            request = decode.decode(signal, kind, decode.inflate(body, coding))
            return _RECORDS[signal](request, batch)

        records = await loop.run_in_executor(self._threads, begin)
        taken = self.taken[signal]
        while piece := await loop.run_in_executor(self._threads, _piece, records):
            await self._sink.record(piece)
            taken.stored += len(piece)
            batch.stored += len(piece)
        taken.rejected += batch.rejected
        taken.truncated += batch.truncated
        return batch

    async def close(self) -> None:
        """End the thread; closing twice is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _piece(records: Iterator[Record]) -> list[Event]:
    found: list[Event] = []
    size = 0
    for record in records:
        found.append(record.event)
        size += record.size
        if len(found) == PIECE_RECORDS or size >= PIECE_BYTES:
            break
    return found
