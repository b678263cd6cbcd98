"""Models that make way for others: waiting until nobody uses one, and until it is closed.

While one is to make way, no new work is given to it: what waits for it is let in when it is
gone, and loads it again. Refuses to measure memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from stackctl.errors import Overloaded
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.placement import Predictor
from stackctl_daemon.inference.terms import KeptTerms
from stackctl_daemon.inference.worker_handle import WorkerHandle

ROOM_TIMEOUT_S = 30.0
"""For a model that is in use to be free; a request's own deadline may be shorter."""


class Leaving:
    """Which models of which devices make way, and for how many."""

    def __init__(self, terms: KeptTerms, predictor: Predictor, clock: Callable[[], float]) -> None:
        self._terms = terms
        self._predictor = predictor
        self._clock = clock
        self._asked: Counter[tuple[str, str]] = Counter()

    def has(self, worker: WorkerHandle, key: str) -> bool:
        """Tell whether a model is to make way."""
        return self._asked[worker.device.id, key] > 0

    def possible_bytes(self, worker: WorkerHandle, load: wire.Load) -> int:
        """Give what the models that are not pinned take, in use or not."""
        return sum(
            worker.models[key].memory_bytes
            if key in worker.models
            else self._predictor.need(other, worker.device.kind).memory_bytes
            for key, other in self._others(worker, load).items()
        )

    def choose(self, worker: WorkerHandle, load: wire.Load) -> wire.Load | None:
        """Give the model that was not asked for the longest, of those that are not pinned."""
        others = self._others(worker, load)

        def used_at(key: str) -> float:
            return worker.models[key].used_at if key in worker.models else self._clock()

        return others[min(others, key=used_at)] if others else None

    def _others(self, worker: WorkerHandle, load: wire.Load) -> dict[str, wire.Load]:
        return {
            key: other
            for key, other in worker.held.wanted.items()
            if key != load.key and not self._terms.of(worker, key).pinned
        }

    async def stayed(self, worker: WorkerHandle, key: str) -> None:
        """Wait until a model is not to make way any more."""
        await worker.held.until(lambda: not self.has(worker, key))

    async def drained(self, worker: WorkerHandle, victim: wire.Load, name: str) -> None:
        """Give a model no more work, and wait until nobody uses it.

        Raises:
            Overloaded: somebody still does after half a minute.
        """
        held, key = worker.held, victim.key
        self._asked[worker.device.id, key] += 1
        try:
            async with asyncio.timeout(ROOM_TIMEOUT_S):
                await held.until(
                    lambda: key not in held.wanted or (key in held.open and not worker.in_use(key))
                )
        except TimeoutError as err:
            raise Overloaded(
                f'no room for model "{name}" on {worker.device.id} while {victim.name} is used by'
                f" {worker.in_use(key)} requests, expected none within {ROOM_TIMEOUT_S:.0f} s",
                hint="stackctl models ps",
                retry_after_s=ROOM_TIMEOUT_S,
            ) from err
        finally:
            # After whoever waits for the room: it has the device's lock first.
            asyncio.get_running_loop().call_soon(self._forget, worker, key)

    def _forget(self, worker: WorkerHandle, key: str) -> None:
        self._asked[worker.device.id, key] -= 1
        self._asked += Counter()  # those above 0
        worker.held.tell()


async def closed(worker: WorkerHandle, key: str, timeout_s: float) -> int:
    """Have a model closed that nobody uses, and give the bytes that came back.

    A process that does not do so is ended; while it has something else to do it has as long as
    for that.
    """
    try:
        return await asyncio.wait_for(worker.held.unload(key), timeout_s)
    except TimeoutError:
        pass
    if worker.queued or worker.held.opening or worker.held.tuning:
        with suppress(TimeoutError):
            gone = worker.held.until(lambda: key not in worker.held.closing)
            await asyncio.wait_for(gone, worker.wedge_timeout_s)
    if key in worker.held.closing:
        await worker.end(f"{key} was not closed in time")
    return 0
