"""What areas need of the event store; refuses to know how it keeps them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from stackctl.contracts.event import Event, EventKind
from stackctl_daemon.ids import random_hex


class EventSink(Protocol):
    """Takes events."""

    async def record(self, events: Sequence[Event]) -> None:
        """Return when the events are on disk.

        Raises:
            DiskFull: there is no space for them; nothing of the batch counts as stored.
            Overloaded: the bounded queue is full.
        """

    def emit(self, event: Event) -> None:
        """Queue an event of our own without waiting; a full queue counts it as dropped, openly."""


def new_event(kind: EventKind, name: str, **fields: Any) -> Event:
    """Make an event that happened now, with a random 96-bit id.

    ``fields`` are those of `stackctl.contracts.event.Event`.
    """
    return Event(id=random_hex(12), kind=kind, name=name, time_us=time.time_ns() // 1000, **fields)
