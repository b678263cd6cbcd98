"""Events of the user's own programs, sent in batches from a thread of their own.

Refuses to hold a program up or to end it: `record_event` neither waits nor raises, what does not
fit in the bounded queue is dropped, and every drop is counted. Sending again stores nothing
twice, for an event's id is chosen when it is recorded.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stackctl.client.transport import Transport
from stackctl.errors import Failed, Invalid, Overloaded, StackctlError, TooLarge

log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
BATCH = 500
"""Events of a request: at most 4 MiB with the largest attributes."""
INTERVAL_S = 1.0
AT_EXIT_S = 2.0
MAX_ATTRIBUTES_BYTES = 8 << 10
_MAX_NAME = 256
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 30.0
_REQUEST_S = 30.0
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "error_code": str,
    "duration_s": (int, float),
    "items": int,
    "tokens": int,
    "model": str,
    "device": str,
    "request_id": str,
    "job_id": str,
}


class EventRecorder:
    """A bounded queue of events and the thread that sends them.

    Args:
        transport: the way to the daemon; the default socket when None. The daemon is never
            started by it: until it runs, events wait in the queue.
        max_queued: events that wait at most; what comes then is dropped.
        batch: events of a request at most, and what the thread does not wait ``interval_s`` for.
        strict: raise what is otherwise only counted.
    """

    def __init__(
        self,
        transport: Transport | None = None,
        *,
        max_queued: int = MAX_QUEUED,
        batch: int = BATCH,
        interval_s: float = INTERVAL_S,
        strict: bool = False,
    ) -> None:
        self.strict = strict
        self.last_error: StackctlError | None = None
        """Why an event was dropped or could not be sent yet; the latest."""
        self._transport = transport
        self._max_queued = max_queued
        self._batch = batch
        self._interval_s = interval_s
        self._begin()

    def _begin(self) -> None:
        """Start with nothing: at first, and in a child of fork, whose parent sends the rest."""
        self._pid = os.getpid()
        self._prefix = os.urandom(9).hex()
        self._wake = threading.Condition()
        self._queue: deque[dict[str, Any]] = deque()
        self._count = self._sent = self._dropped = 0
        self._closing = self._closed = self._hurried = False
        self._deadline_s = 0.0
        self._thread: threading.Thread | None = None

    @property
    def sent(self) -> int:
        """Events that the daemon has on its disk."""
        return self._sent

    @property
    def dropped(self) -> int:
        """Events that are lost: the queue was full, they were invalid, or time ran out."""
        return self._dropped

    @property
    def queued(self) -> int:
        """Events that wait or are on their way."""
        return len(self._queue)

    def record(
        self,
        name: str,
        *,
        outcome: str = "ok",
        attributes: Mapping[str, Any] | None = None,
        time_us: int | None = None,
        **fields: Any,
    ) -> bool:
        """Queue an event of kind ``user`` without waiting; False where it was dropped.

        ``fields`` are ``error_code``, ``duration_s``, ``items``, ``tokens``, ``model``,
        ``device``, ``request_id`` and ``job_id``; ``attributes`` anything that JSON has, of at
        most 8 KiB; ``time_us`` microseconds since the epoch, now where it is None.

        Raises:
            Invalid, Overloaded: only when the recorder is ``strict``.
        """
        if os.getpid() != self._pid:
            self._begin()
        try:
            event = _event(name, outcome, attributes, time_us, fields)
            with self._wake:
                self._put(event)
        except StackctlError as err:
            with self._wake:
                self._dropped += 1
            self.last_error = err
            if self.strict:
                raise
            return False
        return True

    @contextmanager
    def timed(self, name: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Record how long the block took, and whether it raised; gives attributes to fill in."""
        attributes: dict[str, Any] = dict(fields.pop("attributes", None) or {})
        began_s, time_us = time.perf_counter(), time.time_ns() // 1000
        failed = ""
        try:
            yield attributes
        except BaseException as err:
            failed = type(err).__name__
            raise
        finally:
            told: dict[str, Any] = {"error_code": failed, "outcome": "error"} if failed else {}
            told |= fields | {"duration_s": time.perf_counter() - began_s, "time_us": time_us}
            self.record(name, attributes=attributes, **told)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all that was recorded is on the daemon's disk; False where it is not."""
        with self._wake:
            self._hurried = True
            self._wake.notify_all()
            try:
                return self._wake.wait_for(lambda: not self.queued, timeout_s)
            finally:
                self._hurried = False

    def close(self, timeout_s: float = AT_EXIT_S) -> None:
        """Send what waits, drop what cannot be sent in time, and end; twice is harmless."""
        if os.getpid() != self._pid:
            return
        atexit.unregister(self.close)
        with self._wake:
            self._deadline_s = time.monotonic() + timeout_s
            self._closing = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s + 0.5)
        with self._wake:
            self._closed = True  # an answer that comes later finds it counted already
            left = self.queued
            self._queue.clear()
            self._dropped += left
        if left:
            log.warning("events_lost count=%d error=%s", left, self.last_error)

    def _put(self, event: dict[str, Any]) -> None:
        if self._closing:
            raise Overloaded("the recorder is closed")
        if self.queued >= self._max_queued:
            raise Overloaded(f"{self.queued} events wait for the daemon already")
        event["id"] = f"{self._prefix}-{self._count}"
        self._count += 1
        self._queue.append(event)
        if self._thread is None:
            # A daemon's thread: the program may end while the daemon is away.
            self._thread = threading.Thread(target=self._run, name="stackctl-events", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        elif len(self._queue) == 1 or len(self._queue) >= self._batch:
            self._wake.notify_all()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s = 0.0
        while (events := self._next(wait_s)) is not None:
            if self._send(events):
                wait_s = 0.0
            elif self._closing and not isinstance(self.last_error, Overloaded):
                return  # nobody is there: the program's end does not wait for a daemon
            else:
                wait_s = min(max(_FIRST_WAIT_S, wait_s * 2), _LONGEST_WAIT_S)

    def _next(self, wait_s: float) -> list[dict[str, Any]] | None:
        """Wait for events and give them, still queued; None at the end."""
        with self._wake:
            if wait_s and self._closing:
                self._wake.wait(_FIRST_WAIT_S)
            elif wait_s:
                self._wake.wait_for(lambda: self._closing, wait_s)
            self._wake.wait_for(lambda: self._closing or self._queue)
            self._wake.wait_for(self._due, self._interval_s)
            late = self._closing and time.monotonic() > self._deadline_s
            if late or not self._queue:
                return None
            return [self._queue[n] for n in range(min(self._batch, len(self._queue)))]

    def _due(self) -> bool:
        waiting = len(self._queue)
        return self._closing or waiting >= self._batch or (self._hurried and waiting > 0)

    def _send(self, events: list[dict[str, Any]]) -> bool:
        """Send the queue's first events; True when they are settled, stored or not."""
        try:
            self._post(events)
        except (Invalid, TooLarge) as err:
            self.last_error = err
            if len(events) > 1:  # one of them spoils the others: look for it
                half = len(events) // 2
                return self._send(events[:half]) and self._send(events[half:])
            self._settle(1, stored=False)
            log.warning("event_dropped name=%r error=%s", events[0]["name"], err)
            return True
        except StackctlError as err:
            self.last_error = err
            return False
        except Exception as err:
            # The thread's edge: it must not end while events wait.
            self.last_error = Failed(f"events were not sent: {err!r}")
            return False
        self._settle(len(events), stored=True)
        return True

    def _post(self, events: list[dict[str, Any]]) -> None:
        timeout_s = _REQUEST_S
        if self._closing:
            timeout_s = max(0.1, self._deadline_s - time.monotonic())
        transport = self._transport or Transport()
        transport.request("POST", "/v1/events", {"events": events}, timeout_s=timeout_s)

    def _settle(self, count: int, *, stored: bool) -> None:
        with self._wake:
            if self._closed:
                return
            for _ in range(count):
                self._queue.popleft()
            if stored:
                self._sent += count
            else:
                self._dropped += count
            self._wake.notify_all()


def _event(
    name: object,
    outcome: str,
    attributes: Mapping[str, Any] | None,
    time_us: object,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Check an event as the daemon will, and copy it: what changes later must not change it."""
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
        raise Invalid(f"the event's name {str(name)[:80]!r}, expected 1 to {_MAX_NAME} characters")
    if outcome not in ("ok", "error"):
        raise Invalid(f"the outcome of {name} is {str(outcome)[:80]!r}, expected ok or error")
    at = time.time_ns() // 1000 if time_us is None else time_us
    if not isinstance(at, int) or not 0 <= at <= 2**53:
        raise Invalid(f"time_us of {name} is {str(at)[:80]}, expected 0 to 2**53")
    for key, value in fields.items():
        expected = _FIELDS.get(key)
        if expected is None:
            raise Invalid(f"{name} has a field {key!r}, expected one of {', '.join(_FIELDS)}")
        if not isinstance(value, expected) or isinstance(value, bool):
            raise Invalid(f"{key} of {name} is {str(value)[:80]!r}, not of its type")
    try:
        text = json.dumps(dict(attributes or {}), allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    # What a user's mapping raises while it is read is anything.
    except Exception as err:
        raise Invalid(f"the attributes of {name} are not JSON: {err}") from err
    if size > MAX_ATTRIBUTES_BYTES:
        raise Invalid(f"the attributes of {name} are {size} bytes, at most {MAX_ATTRIBUTES_BYTES}")
    return {
        **fields,
        "kind": "user",
        "name": name,
        "outcome": outcome,
        "time_us": at,
        "attributes": json.loads(text),
    }


_default: EventRecorder | None = None
_default_lock = threading.Lock()


def default_recorder() -> EventRecorder:
    """Give the recorder that `record_event` uses, made when it is first needed."""
    global _default  # noqa: PLW0603 - one queue and one thread for a whole program
    with _default_lock:
        if _default is None:
            _default = EventRecorder()
        return _default


def record_event(name: str, **fields: Any) -> bool:
    """Queue an event of this program without waiting; False where it was dropped.

    Fields are those of `EventRecorder.record`. What is wrong with them is never raised.
    """
    return default_recorder().record(name, **fields)


def flush_events(timeout_s: float = 5.0) -> bool:
    """Wait until what was recorded is on the daemon's disk; False where it is not."""
    return default_recorder().flush(timeout_s)
