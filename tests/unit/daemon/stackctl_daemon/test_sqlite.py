from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.errors import Conflict, StoreCorrupt
from stackctl_daemon.sqlite import Database

STEPS = ("CREATE TABLE a (x INTEGER); CREATE TABLE b (y TEXT)", "ALTER TABLE a ADD COLUMN z")


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.migrate(STEPS)

    with pytest.raises(RuntimeError), database.transaction():
        database.rows("INSERT INTO a(x) VALUES (1)")
        raise RuntimeError

    assert database.value("SELECT count(*) FROM a") == 0
    database.close()


def test_an_inner_block_can_fail_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.migrate(STEPS)

    with database.transaction():
        database.rows("INSERT INTO a(x) VALUES (1)")
        with pytest.raises(RuntimeError), database.transaction():
            database.rows("INSERT INTO a(x) VALUES (2)")
            raise RuntimeError

    assert database.rows("SELECT x FROM a") == [(1,)]
    database.close()


def test_migration_goes_on_where_it_stopped_and_refuses_the_future(tmp_path: Path) -> None:
    first = Database(tmp_path / "x.db")
    first.migrate(STEPS[:1])
    first.rows("INSERT INTO a(x) VALUES (7)")
    first.migrate(STEPS)

    assert first.rows("SELECT x, z FROM a") == [(7, None)]
    with pytest.raises(Conflict, match="schema 2, this stackctl knows 1"):
        first.migrate(STEPS[:1])
    first.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database at all" * 400)

    with pytest.raises(StoreCorrupt, match=r"x\.db"):
        Database(tmp_path / "x.db").rows("SELECT 1 FROM sqlite_master")


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.migrate(STEPS)
    with database.transaction():
        database.many("INSERT INTO b(y) VALUES (?)", [("text " * 100,) for _ in range(500)])
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.check() == []
    database.close()
    damaged = bytearray((tmp_path / "x.db").read_bytes())
    damaged[4096 * 3 : 4096 * 3 + 64] = b"\xaa" * 64
    (tmp_path / "x.db").write_bytes(bytes(damaged))

    reopened = Database(tmp_path / "x.db")
    try:
        problems = reopened.check()
    except StoreCorrupt as err:
        problems = [err.message]

    assert problems
    reopened.close()
