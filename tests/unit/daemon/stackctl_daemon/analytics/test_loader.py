from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from stackctl.contracts.event import Event
from stackctl.errors import DiskFull, Failed, Overloaded
from stackctl_daemon import failpoints
from stackctl_daemon.analytics import retention
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.loader import Loader
from stackctl_daemon.analytics.segment_log import Position, SegmentLog
from stackctl_daemon.analytics.store import Store

NOW_S = 1_790_000_000.0


class Bench:
    """A log with small segments, a store, and a loader that is driven by hand."""

    def __init__(self, directory: Path, *, retention_days: int = 90):
        self.now_s = NOW_S
        self.log = SegmentLog(directory / "segments", segment_bytes=2000)
        self.store = Store(directory / "analytics.duckdb")
        self.loader = Loader(
            self.log,
            self.store,
            load_interval_s=0.01,
            retention_days=retention_days,
            keep_s=3600,
            keep_bytes=10_000,
            now=lambda: self.now_s,
        )
        self.log.open()

    def append(self, *batches: list[Event]) -> None:
        async def run() -> None:
            for batch in batches:
                await self.log.append(encode_frame(batch))

        asyncio.run(run())

    def close(self) -> None:
        self.log.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_load_moves_everything_and_knows_where_it_is(
    bench: Bench, make_events: Callable[..., list[Event]]
) -> None:
    bench.append(*(make_events(20, f"b{n}") for n in range(20)))
    assert len(bench.log.segments()) > 2

    assert bench.loader.load(float("inf"))
    assert bench.store.check() == 400
    assert bench.store.position == bench.log.end


def test_pending_counts_what_is_not_loaded_yet(
    bench: Bench, make_events: Callable[..., list[Event]]
) -> None:
    bench.append(*(make_events(20, f"b{n}") for n in range(20)))

    assert not bench.loader.load(0.0)  # the deadline is long past: one transaction only
    loaded = bench.store.check()
    assert 0 < loaded < 400
    assert bench.loader._pending(bench.store.position) == 400 - loaded
    assert bench.loader.load(float("inf"))
    assert bench.loader._pending(bench.store.position) == 0


def test_loaded_segments_go_when_old_but_never_unloaded_ones(
    bench: Bench, make_events: Callable[..., list[Event]]
) -> None:
    bench.append(*(make_events(10, f"b{n}") for n in range(8)))
    before = bench.log.segments()
    for segment in before:
        os.utime(bench.log.path(segment), (NOW_S, NOW_S))

    assert bench.loader.drop_segments() == []  # nothing is loaded
    bench.loader.load(float("inf"))
    assert bench.loader.drop_segments() == []  # loaded, but young and few
    bench.now_s += 3601
    assert bench.loader.drop_segments() == before[:-1]
    assert bench.log.segments() == before[-1:]


def test_loaded_segments_go_when_too_large_together(
    bench: Bench, make_events: Callable[..., list[Event]]
) -> None:
    bench.append(*(make_events(20, f"b{n}") for n in range(20)))
    for segment in bench.log.segments():
        os.utime(bench.log.path(segment), (NOW_S, NOW_S))
    bench.loader.load(float("inf"))

    assert bench.loader.drop_segments()
    left = sum(bench.log.path(n).stat().st_size for n in bench.log.segments()[:-1])
    assert left <= 10_000


def test_store_ahead_of_replaced_segments_loads_them_all(
    bench: Bench, make_events: Callable[..., list[Event]]
) -> None:
    bench.store.insert([], Position(2**60, 5))
    bench.append(make_events(3))

    bench.loader.load(float("inf"))
    assert bench.store.check() == 3
    assert bench.loader.problems


def test_thread_loads_by_itself_and_applies_retention(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    bench = Bench(tmp_path, retention_days=1)
    day_us = 86_400_000_000
    bench.append(
        make_events(4, "old", time_us=int(NOW_S * 1e6) - 2 * day_us),
        make_events(37, "new", time_us=int(NOW_S * 1e6)),
    )

    bench.loader.start()
    deadline = time.monotonic() + 30
    while bench.loader.submit(lambda: (bench.store.position, bench.store.check())).result(30) != (
        bench.log.end,
        37,
    ):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    bench.loader.close()
    bench.close()


def test_failure_is_kept_until_a_load_succeeds(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    bench = Bench(tmp_path)
    bench.append(make_events(3))
    segment = bench.log.path(bench.log.segments()[0])
    hidden = segment.with_suffix(".hidden")
    bench.loader._guarded(lambda: bench.loader.load(float("inf")))
    bench.append(make_events(3, "more"))
    bench.store.close()
    bench.store.path.rename(hidden)
    bench.store.path.mkdir()  # a directory where the file should be

    bench.loader._guarded(lambda: bench.loader.load(float("inf")))
    assert isinstance(bench.loader.failure, Failed)
    bench.store.path.rmdir()
    hidden.rename(bench.store.path)
    assert bench.loader._guarded(lambda: bench.loader.load(float("inf")))
    assert bench.store.check() == 6
    bench.close()


def test_too_many_questions_are_refused_and_the_rest_answered(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.loader.start()
    release = threading.Event()
    waiting: list[Future[bool]] = [bench.loader.submit(lambda: release.wait(30))]
    with pytest.raises(Overloaded):
        for _ in range(100):
            waiting.append(bench.loader.submit(lambda: True))
    release.set()

    assert all(future.result(30) for future in waiting)
    bench.loader.close()
    with pytest.raises(Failed):
        bench.loader.submit(lambda: True)
    bench.close()


def test_error_of_a_question_reaches_who_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.loader.start()

    future = bench.loader.submit(lambda: bench.log.path(5).read_bytes())
    with pytest.raises(FileNotFoundError):
        future.result(30)
    bench.loader.close()
    bench.close()


@pytest.fixture
def armed() -> Iterator[Callable[[str], None]]:
    """Arms failpoints for one test."""
    yield failpoints.arm
    failpoints.arm("")


def loaded_twice(bench: Bench, make_events: Callable[..., list[Event]]) -> None:
    """Leave loaded segments that could be dropped, all of them old."""
    bench.append(*(make_events(10, f"b{n}") for n in range(8)))
    bench.loader.load(float("inf"))
    for segment in bench.log.segments():
        os.utime(bench.log.path(segment), (NOW_S - 7200, NOW_S - 7200))


@pytest.mark.parametrize(("number", "kind"), [("EIO", Failed), ("ENOSPC", DiskFull)])
def test_a_segment_that_cannot_be_removed_is_told_and_goes_later(
    bench: Bench,
    make_events: Callable[..., list[Event]],
    armed: Callable[[str], None],
    number: str,
    kind: type[Failed],
) -> None:
    loaded_twice(bench, make_events)
    armed(f"segment.drop.before_unlink=error:{number}")

    with pytest.raises(kind, match="cannot be removed"):
        bench.loader.drop_segments()
    assert len(bench.loader.drop_segments()) > 0


def test_a_full_disk_is_what_is_told_where_no_segment_can_be_removed_either(
    bench: Bench, make_events: Callable[..., list[Event]], armed: Callable[[str], None]
) -> None:
    loaded_twice(bench, make_events)
    bench.append(make_events(1, "more"))
    armed("store.insert.before_commit=error:ENOSPC;segment.drop.before_unlink=error:EIO")

    with pytest.raises(DiskFull, match="analytics"):
        bench.loader.load(float("inf"))
    assert bench.loader.load(float("inf"))
    assert bench.store.check() == 81


def test_retention_that_failed_is_tried_again_soon(
    tmp_path: Path,
    make_events: Callable[..., list[Event]],
    armed: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waited for the next hour."""
    monkeypatch.setattr(retention, "RETRY_S", 0.0)
    bench = Bench(tmp_path, retention_days=1)
    bench.append(
        make_events(4, "old", time_us=int(NOW_S * 1e6) - 2 * 86_400_000_000), make_events(96)
    )
    armed("store.retention.before_commit=error:ENOSPC")

    seen = []
    for _ in range(2):
        bench.loader._guarded(bench.loader._tick)
        seen.append((type(bench.loader.failure), bench.store.check()))
    assert seen == [(DiskFull, 100), (type(None), 96)]
    bench.close()
