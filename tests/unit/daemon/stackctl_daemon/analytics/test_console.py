from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from stackctl.contracts.analytics import QueryResult, SqlRequest
from stackctl.errors import Failed, Invalid, StackctlError, TimedOut, TooLarge
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics import console
from stackctl_daemon.analytics.frame import decode_rows, encode_frame
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.analytics.store import Store
from stackctl_daemon.events import new_event


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "analytics.duckdb")
    data = encode_frame([new_event("request", f"n{n}", duration_s=n) for n in range(3)])
    opened.insert(decode_rows(data, 0, len(data)), Position(1, 1))
    yield opened
    opened.close()


def ask(store: Store, sql: str, limit: int = 1000) -> QueryResult:
    with store.reading() as cursor:
        return console.run(cursor, SqlRequest(sql=sql, limit=limit))


ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_ndjson_objects('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_duckdb('/tmp/other.duckdb')",
    "SELECT * FROM glob('/*')",
    "FROM '/etc/passwd'",
    "FROM '/etc/*.csv'",
    'SELECT * FROM "/etc/passwd"',
    "FROM 'https://example.org/a.parquet'",
    "SELECT (SELECT count(*) FROM '/etc/passwd')",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT (WITH duckdb_databases AS (SELECT 1) SELECT 1), path FROM duckdb_databases",
    "SELECT (WITH load_offsets AS (SELECT 1) SELECT 1), * FROM load_offsets",
    "SELECT * FROM events WHERE name IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT 1 UNION ALL SELECT count(*) FROM glob('/*')",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM query_table('/etc/passwd')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT getenv('HOME')",
    "COPY events TO '/tmp/stolen.csv'",
    "COPY events FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/stolen'",
    "IMPORT DATABASE '/tmp/stolen'",
    "ATTACH '/tmp/other.duckdb'",
    "DETACH analytics",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "PRAGMA memory_limit='10GB'",
    "SET enable_external_access = true",
    "SET memory_limit = '10GB'",
    "RESET memory_limit",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM schema_version",
    "SELECT * FROM load_offsets",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM enable_logging()",
    "INSERT INTO events SELECT * FROM events",
    "DELETE FROM events",
    "UPDATE events SET name = 'x'",
    "DROP TABLE events",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE MACRO count(x) AS 1",
    "ALTER TABLE events ADD COLUMN x INTEGER",
    "WITH x AS (INSERT INTO events SELECT * FROM events RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "EXPLAIN ANALYZE SELECT 1",
    "DESCRIBE events",
    "SHOW TABLES",
    "SUMMARIZE events",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE events",
    "COMMIT; DELETE FROM events",
    "SELECT ?",
    "SELECT $name",
    "SELECT",
    "",
    ";",
    "SELECT * FROM batch",
    "SELECT * FROM store",
    "SELECT nothing FROM events",
    "SELECT sum(name) FROM events",
    "SELECT 'x'::INTEGER",
]


@pytest.mark.parametrize("sql", ATTACKS)
def test_whatever_is_no_select_of_ours_is_refused(store: Store, sql: str, tmp_path: Path) -> None:
    before = sorted(Path("/tmp").glob("stolen*"))

    with pytest.raises(Invalid):
        ask(store, sql)
    assert store.check() == 3
    assert sorted(Path("/tmp").glob("stolen*")) == before


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT name, duration_s FROM events ORDER BY name", [["n0", 0], ["n1", 1], ["n2", 2]]),
        ("SELECT sum(count) FROM minutes", [[3]]),
        ("FROM hours SELECT sum(count)::BIGINT", [[3]]),
        ("WITH x AS (SELECT 1 AS a) SELECT a FROM x", [[1]]),
        ("SELECT count(*) FROM events a JOIN events b USING (id)", [[3]]),
        ("SELECT attributes->>'$.k' FROM events LIMIT 1", [[None]]),
        ("SELECT 'a;b' -- read_csv('/etc/passwd')", [["a;b"]]),
        ("SELECT 1e308 * 10, 'nan'::DOUBLE, '\\x01'::BLOB", [[None, None, "01"]]),
        ("SELECT [1, NULL], {'a': 1.5::DOUBLE}", [[[1, None], {"a": 1.5}]]),
        ("SELECT DATE '2020-01-02', 2::HUGEINT ** 3", [["2020-01-02", 8.0]]),
        ("SELECT * FROM range(3)", [[0], [1], [2]]),
    ],
)  # fmt: skip
def test_selects_are_answered(store: Store, sql: str, rows: list[list[object]]) -> None:
    assert ask(store, sql).rows == rows


def test_rows_beyond_the_limit_are_cut_and_said(store: Store) -> None:
    found = ask(store, "SELECT * FROM range(100000000)", limit=7)

    assert (len(found.rows), found.truncated) == (7, True)
    assert not ask(store, "SELECT * FROM range(7)", limit=7).truncated


def test_an_answer_of_many_bytes_is_refused(store: Store) -> None:
    with pytest.raises(TooLarge, match="8 MiB"):
        ask(store, "SELECT repeat('x', 1000000) FROM range(100)")


def test_a_runaway_ends_in_time_and_stops_no_load(tmp_path: Path) -> None:
    async def main() -> None:
        service = AnalyticsService(AnalyticsSettings(), tmp_path)
        await service.start()
        await service.record([new_event("user", "a")])
        runaway = SqlRequest(
            sql="SELECT count(*) FROM range(10000000) a, range(10000000) b", timeout_s=2
        )
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(_outcome(lambda: service.sql(runaway)))
            while not asked.done() and time.monotonic() < began + 1:
                await service.record([new_event("user", "b")])
                summary = await service.summary(60)
        assert summary.rows[-1].name == "b"
        assert summary.rows[-1].count > 3
        assert isinstance(await asked, TimedOut)
        assert time.monotonic() - began < 10
        assert (await service.sql(SqlRequest(sql="SELECT count(*) FROM events"))).rows[0][0] > 3
        await service.close()

    asyncio.run(main())


def test_a_select_that_takes_all_memory_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        service = AnalyticsService(AnalyticsSettings(), tmp_path)
        await service.start()
        await service.record([new_event("user", "a")])
        greedy = SqlRequest(
            sql="SELECT list(a.range || 'xxxxxxxxxxxxxxxxx') FROM range(90000000) a"
        )
        assert isinstance(await _outcome(lambda: service.sql(greedy)), (Failed, TimedOut))
        await service.record([new_event("user", "a")])
        assert (await service.summary(60)).events_stored == 2
        assert service.health().state == "ready"
        await service.close()

    asyncio.run(main())


async def _outcome(call: Callable[[], Awaitable[object]]) -> object:
    try:
        return await call()
    except StackctlError as err:
        return err
