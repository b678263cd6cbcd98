"""One batch, or one step of a stream; refuses to know who waits for it.

Runs in any thread: adapters may be asked by several at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Adapter
from stackctl_daemon.inference.batching import Item
from stackctl_daemon.inference.session import DeviceUnusable
from stackctl_daemon.inference.worker_state import Pending, Stream


@dataclass(slots=True)
class Ran:
    """A batch that ran, or one input that cannot."""

    batch: Sequence[Item[Pending]]
    results: Any
    """One an input, in order."""
    error: Exception | None
    start: float
    end: float


@dataclass(slots=True)
class Stepped:
    """What a stream gave next."""

    stream: Stream
    piece: Any
    ended: bool
    error: Exception | None
    start: float
    end: float


def run_batch(adapter: Adapter, batch: Sequence[Item[Pending]]) -> Iterator[Ran]:
    """Run a batch; one that fails is halved until those at fault are found.

    Raises:
        DeviceUnusable: no input is at fault.
    """
    start = time.monotonic()
    try:
        results = adapter.compute([item.unit for item in batch])
        if len(results) != len(batch):
            raise Failed(f"{len(results)} results of {len(batch)} inputs")
    except DeviceUnusable:
        raise
    except Exception as err:  # ORT's exceptions share no base class
        if len(batch) > 1:  # out of memory, or one bad input: find it
            middle = len(batch) // 2
            yield from run_batch(adapter, batch[:middle])
            yield from run_batch(adapter, batch[middle:])
        else:
            yield Ran(batch, None, err, start, time.monotonic())
        return
    yield Ran(batch, results, None, start, time.monotonic())


def step(stream: Stream) -> Iterator[Stepped]:
    """Have a stream give its next piece.

    Raises:
        DeviceUnusable: as of a batch.
    """
    start, piece, ended = time.monotonic(), None, False
    error: Exception | None = None
    try:
        piece = next(stream.pieces)
    except StopIteration:
        ended = True
    except DeviceUnusable:
        raise
    except Exception as err:  # as of a batch
        error = err
    yield Stepped(stream, piece, ended, error, start, time.monotonic())
