from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stackctl.contracts.event import Event
from stackctl.errors import DiskFull
from stackctl_daemon.events import new_event
from stackctl_daemon.tally import BOUNDS_S, OTHER, Tally, TallySink


def test_sums_are_those_of_the_events() -> None:
    tally = Tally()
    for duration_s in (0.0005, 0.001, 0.0011, 1000.0):
        tally.add(new_event("request", "a", duration_s=duration_s, items=2, tokens=3))
    tally.add(new_event("request", "a", outcome="error", error_code="failed"))

    [(key, series)] = tally.snapshot().items()

    assert key == ("request", "a", "")
    assert (series.ok, series.errors, series.items, series.tokens) == (4, 1, 8, 12)
    # The bound belongs to its bucket.
    assert series.buckets[0] == 3
    assert series.buckets[1] == 1
    assert series.buckets[len(BOUNDS_S)] == 1
    assert series.duration_s == pytest.approx(1000.0026)


def test_a_device_is_busy_for_as_long_as_it_computed() -> None:
    tally = Tally()
    tally.add(new_event("inference", "embed", device="cpu:0", duration_s=0.25))
    tally.add(new_event("inference", "rerank", device="cpu:0", duration_s=0.5))
    tally.add(new_event("request", "embed", device="cpu:0,cpu:1", duration_s=9.0))

    assert tally.busy_s() == {"cpu:0": 0.75}


def test_names_and_models_are_bounded() -> None:
    tally = Tally(max_names=2, max_models=2)
    for number in range(50):
        tally.add(new_event("request", f"n{number}", model=f"m{number}"))

    found = tally.snapshot()

    assert len(found) == 3
    assert found["request", OTHER, OTHER].ok == 48


def test_a_model_that_never_succeeded_has_no_series_of_its_own() -> None:
    tally = Tally(max_models=1)
    for number in range(100):
        tally.add(new_event("request", "a", model=f"junk{number}", outcome="error"))
    tally.add(new_event("inference", "embed", model="minilm"))
    tally.add(new_event("request", "a", model="minilm", outcome="error"))

    assert set(tally.snapshot()) == {
        ("inference", "embed", "minilm"),
        ("request", "a", OTHER),
        ("request", "a", "minilm"),
    }


def test_of_a_job_its_end_alone_counts_and_other_kinds_do_not() -> None:
    tally = Tally()
    for state in ("queued", "running", "succeeded"):
        tally.add(new_event("job", "index", attributes={"state": state}))
    tally.add(new_event("user", "click"))

    [(key, series)] = tally.snapshot().items()

    assert (key, series.ok) == (("job", "index", ""), 1)


def test_what_was_not_stored_does_not_count() -> None:
    class Full:
        async def record(self, events: Sequence[Event]) -> None:
            raise DiskFull("no space left")

        def emit(self, event: Event) -> None:
            pass

    tally = Tally()
    sink = TallySink(Full(), tally)
    with pytest.raises(DiskFull):
        asyncio.run(sink.record([new_event("request", "a")]))
    sink.emit(new_event("request", "b"))

    assert set(tally.snapshot()) == {("request", "b", "")}
