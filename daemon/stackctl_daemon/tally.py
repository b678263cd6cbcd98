"""Running sums of the daemon's own events, for who scrapes them; refuses to keep any event.

Every series is bounded: names beyond the first hundreds, and models that nothing has succeeded
with, are counted as ``other``, so that no caller can make the daemon remember what it spells.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stackctl.contracts.event import Event
from stackctl_daemon.events import EventSink

BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0
)  # fmt: skip
"""Upper bounds of the histograms' buckets, inclusive."""
OTHER = "other"
KINDS = ("request", "inference", "job")
MAX_NAMES = 200
"""Of each kind."""
MAX_MODELS = 100
MAX_DEVICES = 64
_UNENDED = ("queued", "running")


@dataclass(slots=True)
class Series:
    """Sums of the events with the same labels; none of them ever falls."""

    ok: int = 0
    errors: int = 0
    items: int = 0
    tokens: int = 0
    duration_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """Counts of durations, not cumulative; the last is of what is above every bound."""

    def add(self, event: Event) -> None:
        """Count an event."""
        if event.outcome == "ok":
            self.ok += 1
        else:
            self.errors += 1
        self.items += event.items
        self.tokens += event.tokens
        self.duration_s += event.duration_s
        self.buckets[bisect_left(BOUNDS_S, event.duration_s)] += 1

    def copy(self) -> Series:
        """Give the sums as they are now."""
        return Series(
            self.ok, self.errors, self.items, self.tokens, self.duration_s, [*self.buckets]
        )


class Tally:
    """Sums by kind, name and model; may be added to from any thread."""

    def __init__(self, *, max_names: int = MAX_NAMES, max_models: int = MAX_MODELS) -> None:
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str, str], Series] = {}
        self._names: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._models: set[str] = set()
        self._devices: set[str] = set()
        self._busy_s: dict[str, float] = {}
        self._max_names = max_names
        self._max_models = max_models

    def add(self, event: Event) -> None:
        """Count an event; of a job only its end, of other kinds nothing."""
        names = self._names.get(event.kind)
        if names is None or event.attributes.get("state") in _UNENDED:
            return
        with self._lock:
            name = _known(names, event.name, self._max_names)
            model = event.model and self._model(event)
            key = (event.kind, name, model)
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = Series()
            series.add(event)
            if event.kind == "inference" and event.device:
                device = _known(self._devices, event.device, MAX_DEVICES)
                self._busy_s[device] = self._busy_s.get(device, 0.0) + event.duration_s

    def busy_s(self) -> dict[str, float]:
        """Give how long each device has computed, in sum."""
        with self._lock:
            return dict(sorted(self._busy_s.items()))

    def snapshot(self) -> Mapping[tuple[str, str, str], Series]:
        """Give the sums by kind, name and model, in order."""
        with self._lock:
            return {key: self._series[key].copy() for key in sorted(self._series)}

    def _model(self, event: Event) -> str:
        # What has never succeeded may be no model at all.
        if event.outcome == "error" and event.model not in self._models:
            return OTHER
        return _known(self._models, event.model, self._max_models)


class TallySink:
    """Counts events on their way into another sink."""

    def __init__(self, sink: EventSink, tally: Tally) -> None:
        self._sink = sink
        self._tally = tally

    async def record(self, events: Sequence[Event]) -> None:
        """Return when the events are on disk; only then they count."""
        await self._sink.record(events)
        for event in events:
            self._tally.add(event)

    def emit(self, event: Event) -> None:
        """Queue an event without waiting."""
        self._tally.add(event)
        self._sink.emit(event)


def _known(found: set[str], name: str, limit: int) -> str:
    if name in found:
        return name
    if len(found) >= limit:
        return OTHER
    found.add(name)
    return name
