from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackctl_daemon.analytics import migrations
from stackctl_daemon.analytics.frame import COLUMNS
from stackctl_daemon.analytics.store import Store

EVENTS = 10_000
KILLED = """
import os, signal, sys
import duckdb
from stackctl_daemon.analytics import migrations
migrations.CHUNK_EVENTS = 3_000
left = int(sys.argv[2])
def done(step):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
connection = duckdb.connect(sys.argv[1])
migrations.migrate(connection, "file", done=done)
connection.close()
"""
VERSION_1 = f"""
CREATE TABLE schema_version (version INTEGER);
CREATE TABLE load_offsets (segment BIGINT, "offset" BIGINT);
CREATE TABLE events (
  id VARCHAR, kind VARCHAR, name VARCHAR, time_us BIGINT, outcome VARCHAR, error_code VARCHAR,
  duration_s DOUBLE, items BIGINT, tokens BIGINT, model VARCHAR, device VARCHAR, job_id VARCHAR,
  request_id VARCHAR, uid BIGINT, attributes VARCHAR, seq BIGINT, loaded_us BIGINT);
INSERT INTO schema_version VALUES (1);
INSERT INTO load_offsets VALUES (3, 77);
INSERT INTO events SELECT 'e' || r, 'request', 'n' || r % 7, 1790000000000000 + r * 1000000,
  CASE WHEN r % 5 = 0 THEN 'error' ELSE 'ok' END, '', r / 1000, 1, 2, '', '', '', '', r % 3,
  '{{}}', 500 + r, 1790000000000000 FROM range({EVENTS}) t(r);
"""
"""A file as the first release wrote it; its first events were dropped by retention."""


def old_file(path: Path) -> None:
    import duckdb

    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"}) as made:
        made.execute(VERSION_1).fetchall()


def figures(path: Path) -> dict[str, Any]:
    import duckdb

    with duckdb.connect(str(path)) as opened:
        every = (
            "SELECT list((name, uid, n, e) ORDER BY name, uid) FROM (SELECT name, uid, {} AS n, "
            "{} FILTER (outcome = 'error') AS e FROM {} GROUP BY ALL)"
        )
        return {
            table: opened.execute(every.format(count, count, table)).fetchall()
            for table, count in (
                ("events", "count(*)"),
                ("minutes", "sum(count)"),
                ("hours", "sum(count)"),
                ("minutes_histogram", "sum(count)"),
                ("hours_histogram", "sum(count)"),
            )
        } | {"version": opened.execute("SELECT max(version) FROM schema_version").fetchall()}


@pytest.mark.parametrize("at", range(12))
def test_a_file_killed_at_any_step_opens_with_exact_counts(tmp_path: Path, at: int) -> None:
    """The steps are tables, four of events and the version, each before and after its commit."""
    path = tmp_path / "analytics.duckdb"
    old_file(path)

    child = subprocess.run([sys.executable, "-c", KILLED, str(path), str(at)], check=False)
    assert child.returncode == -signal.SIGKILL
    store = Store(path)
    assert store.check() == EVENTS
    assert tuple(store.position) == (3, 77)
    store.close()
    found = figures(path)
    assert found.pop("version") == [(2,)]
    events = found.pop("events")
    assert sum(entry[2] for entry in events[0][0]) == EVENTS
    assert all(counts == events for counts in found.values())


def test_a_file_of_this_release_is_left_as_it_is(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "analytics.duckdb"
    old_file(path)
    steps: list[str] = []
    with duckdb.connect(str(path)) as opened:
        migrations.migrate(opened, "file", done=steps.append)
        first = len(steps)
        migrations.migrate(opened, "file", done=steps.append)

    assert (first, len(steps)) == (6, 6)


def test_the_first_releases_columns_are_those_of_a_frame() -> None:
    assert all(f"{name} " in VERSION_1 for name in COLUMNS)
