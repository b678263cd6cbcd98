"""Acknowledged events against SIGKILL and a full disk: real processes, a real file system."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from stackctl.errors import DiskFull
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.events import new_event

pytestmark = pytest.mark.integration

KILLS = 20
PRODUCER = """
import asyncio, os, sys
from pathlib import Path
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.events import new_event

async def produce(service, acked):
    while True:
        events = [new_event("user", "kill") for _ in range(20)]
        await service.record(events)
        # One write each: what the parent reads was acknowledged as a whole.
        os.write(acked, b"".join(e.id.encode() + b"\\n" for e in events))

async def main():
    # Loads often, so that kills fall into DuckDB's transactions as well as into the log's.
    service = AnalyticsService(AnalyticsSettings(load_interval_s=0.02), Path(sys.argv[1]))
    await service.start()
    if sys.argv[3] == "loading":
        await service.summary(60)
    acked = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(produce(service, acked))

asyncio.run(main())
"""


def stored_ids(data_dir: Path) -> collections.Counter[str]:
    import duckdb

    with duckdb.connect(str(data_dir / "analytics" / "analytics.duckdb")) as connection:
        found = connection.execute("SELECT id, count(*) FROM events GROUP BY id").fetchall()
    return collections.Counter(dict(found))


def rolled_up(data_dir: Path) -> list[int]:
    """Give how many events each table of rollups counts."""
    import duckdb

    tables = ("minutes", "minutes_histogram", "hours", "hours_histogram")
    with duckdb.connect(str(data_dir / "analytics" / "analytics.duckdb")) as connection:
        return [
            int(connection.execute(f"SELECT sum(count) FROM {table}").fetchall()[0][0])
            for table in tables
        ]


def kill_after(data_dir: Path, acked: Path, delay_s: float, *, loading: bool) -> None:
    """Run a producer and kill it ``delay_s`` after its first acknowledgement of this run.

    ``loading``: DuckDB is open by then; otherwise the kill comes while it is imported.
    """
    before = acked.stat().st_size if acked.exists() else 0
    mode = "loading" if loading else "starting"
    child = subprocess.Popen([sys.executable, "-c", PRODUCER, str(data_dir), str(acked), mode])
    try:
        until(
            lambda: (acked.exists() and acked.stat().st_size != before) or child.poll() is not None
        )
        assert child.returncode is None, "the producer ended by itself"
        time.sleep(delay_s)  # the moment of the kill is what is tested
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def test_nothing_acknowledged_is_lost_or_doubled_by_sigkill(tmp_path: Path) -> None:
    acked = tmp_path / "acked"
    moment = random.Random(20)
    for n in range(KILLS):
        kill_after(tmp_path, acked, moment.uniform(0, 0.7), loading=n % 4 != 0)

    loaded = stored_ids(tmp_path).total()
    assert loaded > 0, "no kill came after a load"
    assert rolled_up(tmp_path) == [loaded] * 4

    async def reopen() -> None:
        service = AnalyticsService(AnalyticsSettings(), tmp_path)
        await service.start()
        summary = await service.summary(3600)
        while summary.events_pending:
            summary = await service.summary(3600)
        assert service.health().state == "ready"
        await service.close()

    asyncio.run(reopen())
    ids = acked.read_text().split()
    stored = stored_ids(tmp_path)
    assert len(ids) > KILLS * 20
    assert [i for i in ids if stored[i] != 1] == []
    assert max(stored.values()) == 1
    assert rolled_up(tmp_path) == [stored.total()] * 4
    print(f"{KILLS} kills: {len(ids)} acknowledged, {loaded} loaded by then, {len(stored)} stored")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs needs root to mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_full_disk_is_said_clearly_and_nothing_acknowledged_is_lost(small_disk: Path) -> None:
    """Fill the disk under a running service, free it, and go on without a restart."""
    data_dir = small_disk / "data"
    data_dir.mkdir()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(32 << 20))
    acked: list[str] = []

    async def record(service: AnalyticsService, count: int) -> None:
        events = [new_event("user", "full", attributes={"k": "v" * 200}) for _ in range(count)]
        await service.record(events)
        acked.extend(e.id for e in events)

    async def fill_and_free(service: AnalyticsService) -> None:
        await record(service, 100)
        assert (await service.summary(3600)).events_stored == 100
        refused = 0
        for _ in range(2000):
            try:
                await record(service, 100)
            except DiskFull as err:
                refused += 1
                assert str(data_dir) in err.message
                assert err.hint.startswith("df -h")
                if refused == 20:
                    break
        assert refused == 20
        ballast.unlink()

        await record(service, 10)
        deadline = time.monotonic() + 60
        summary = await service.summary(3600)
        while summary.events_stored < len(acked):
            assert time.monotonic() < deadline, (summary, service.health())
            summary = await service.summary(3600)

    async def main() -> None:
        service = AnalyticsService(AnalyticsSettings(load_interval_s=0.05), data_dir)
        await service.start()
        try:
            await fill_and_free(service)
        finally:
            await service.close()

    asyncio.run(main())
    stored = stored_ids(data_dir)
    assert [i for i in acked if stored[i] != 1] == []
    assert max(stored.values()) == 1
