from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from stackctl.errors import Failed, Invalid, StoreCorrupt
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.events import EventSink, new_event

# An hour: what a test sees is loaded because it asked, not because a clock ran.
QUIET = AnalyticsSettings(load_interval_s=3600.0)


def run(
    directory: Path,
    body: Callable[[AnalyticsService], Awaitable[None]],
    settings: AnalyticsSettings = QUIET,
) -> None:
    async def main() -> None:
        service = AnalyticsService(settings, directory)
        await service.start()
        try:
            await body(service)
        finally:
            await service.close()

    asyncio.run(main())


def test_service_is_an_event_sink(tmp_path: Path) -> None:
    sink: EventSink = AnalyticsService(QUIET, tmp_path)

    assert sink is not None


def test_summary_includes_what_was_just_recorded_and_emitted(tmp_path: Path) -> None:
    async def body(service: AnalyticsService) -> None:
        await service.record([new_event("request", "a") for _ in range(10)])
        assert (await service.summary(60)).events_stored == 10
        await service.record([new_event("request", "a")])
        service.emit(new_event("job", "b", outcome="error"))
        summary = await service.summary(60)
        assert [(r.name, r.count, r.errors) for r in summary.rows] == [("b", 1, 1), ("a", 11, 0)]
        assert (summary.events_stored, summary.events_pending) == (12, 0)
        assert service.health().state == "ready"

    run(tmp_path, body)


def test_same_id_twice_is_stored_once_across_restarts(tmp_path: Path) -> None:
    events = [new_event("user", "a") for _ in range(3)]

    async def body(service: AnalyticsService) -> None:
        await service.record(events)
        await service.record(events)
        assert (await service.summary(60)).events_stored == 3

    run(tmp_path, body)
    run(tmp_path, body)


def test_window_uses_the_events_own_time(tmp_path: Path) -> None:
    hour_us = 3_600_000_000
    now_us = time.time_ns() // 1000

    async def body(service: AnalyticsService) -> None:
        for offset in (-2 * hour_us, 0, 2 * hour_us):
            event = msgspec.structs.replace(new_event("user", "a"), time_us=now_us + offset)
            await service.record([event])
        assert [r.count for r in (await service.summary(3600)).rows] == [1]
        assert [r.count for r in (await service.summary(3 * 3600)).rows] == [2]

    run(tmp_path, body)


def test_close_loads_what_waits_and_refuses_afterwards(tmp_path: Path) -> None:
    import duckdb

    async def main() -> None:
        service = AnalyticsService(QUIET, tmp_path)
        await service.start()
        await service.record([new_event("user", "a") for _ in range(2500)])
        await service.close()
        await service.close()
        with pytest.raises(Failed):
            await service.record([new_event("user", "a")])
        with pytest.raises(Failed):
            await service.summary(60)
        service.emit(new_event("user", "a"))
        assert service.dropped == 1

    asyncio.run(main())
    with duckdb.connect(str(tmp_path / "analytics" / "analytics.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(2500,)]


@pytest.mark.parametrize("window_s", [0, 0.5, 31_536_001, float("nan")])
def test_window_out_of_range_is_invalid(tmp_path: Path, window_s: float) -> None:
    async def body(service: AnalyticsService) -> None:
        with pytest.raises(Invalid, match="window_s"):
            await service.summary(window_s)

    run(tmp_path, body)


def test_invalid_event_refuses_its_batch_only(tmp_path: Path) -> None:
    async def body(service: AnalyticsService) -> None:
        with pytest.raises(Invalid):
            await service.record([new_event("user", "a"), new_event("user", "")])
        await service.record([])
        await service.record([new_event("user", "a")])
        assert (await service.summary(60)).events_stored == 1

    run(tmp_path, body)


def test_damaged_store_takes_events_and_is_rebuilt_from_segments(tmp_path: Path) -> None:
    async def fill(service: AnalyticsService) -> None:
        await service.record([new_event("user", "a") for _ in range(100)])

    async def damaged(service: AnalyticsService) -> None:
        await service.record([new_event("user", "a")])
        with pytest.raises(StoreCorrupt) as caught:
            await service.summary(60)
        assert caught.value.hint
        actions = await service.repair()
        assert any("set aside" in action for action in actions)
        assert any("cannot be recovered" in action for action in actions)
        assert (await service.summary(60)).events_stored == 101
        assert service.health().state == "ready"
        assert await service.repair() == [
            "analytics.duckdb is sound: 101 events, nothing to repair"
        ]

    run(tmp_path, fill)
    (tmp_path / "analytics" / "analytics.duckdb").write_bytes(b"no database" * 1000)
    run(tmp_path, damaged)


def test_damage_in_a_segment_is_reported_and_the_rest_is_loaded(tmp_path: Path) -> None:
    async def fill(service: AnalyticsService) -> None:
        for _ in range(3):
            await service.record([new_event("user", "a") for _ in range(10)])

    async def look(service: AnalyticsService) -> None:
        assert (await service.summary(60)).events_stored == 20
        assert service.health().state == "degraded"
        assert "damaged" in service.health().reason

    run(tmp_path, fill)
    (segment,) = (tmp_path / "analytics" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    for file in (tmp_path / "analytics").glob("analytics.duckdb*"):
        file.unlink()
    run(tmp_path, look)


def test_duckdb_is_not_imported_by_the_area_itself() -> None:
    code = (
        "import sys; import stackctl_daemon.analytics.routes;"
        "sys.exit('duckdb' in sys.modules or 'numpy' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
