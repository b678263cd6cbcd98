"""Events in DuckDB, and the cursors that questions read through.

Every method runs in the loader's one thread, `reading` alone in any. Refuses to read segments: it
stores rows together with their rollups and the place they came from, in one transaction: a crash
neither loses nor repeats them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackctl.contracts.event import SummaryRow
from stackctl.errors import Overloaded
from stackctl_daemon.analytics import migrations, rollup, store_file
from stackctl_daemon.analytics.frame import COLUMNS, Row
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.store_error import translate
from stackctl_daemon.failpoints import failpoint

log = logging.getLogger(__name__)

DEDUPE_EVENTS = 1_000_000
"""An id is recognised among this many events before it: 28 ms to look through on one core."""

_MAX_SUMMARY_ROWS = 1000
_COMPACT_LOADS = 200
"""Loads into an hour after which its rollups' rows are joined."""
_MOST_HOURS = 10_000
_CLOSE_S = 10.0
_INTEGERS = {"time_us", "items", "tokens", "uid"}
_CONFIG = {
    "memory_limit": "256MB",
    "threads": 2,
    # Readable by older releases: a file of the newest format cannot be opened after a downgrade.
    "storage_compatibility_version": "v1.4.0",
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    # What a SELECT of a user may not do, no statement of ours needs.
    "enable_external_access": False,
    "python_enable_replacements": False,
    "max_temp_directory_size": "2GB",
    "lock_configuration": True,
}
_TYPES = {"duration_s": "DOUBLE", **dict.fromkeys(_INTEGERS, "BIGINT")}
_TABLES = f"""
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER);
CREATE TABLE IF NOT EXISTS load_offsets (segment BIGINT, "offset" BIGINT);
CREATE TABLE IF NOT EXISTS events (
  {", ".join(f"{name} {_TYPES.get(name, 'VARCHAR')}" for name in COLUMNS)},
  seq BIGINT, loaded_us BIGINT);
INSERT INTO schema_version SELECT 1 WHERE NOT EXISTS (FROM schema_version);
INSERT INTO load_offsets SELECT 0, 0 WHERE NOT EXISTS (FROM load_offsets);
"""
_SUMMARY = f"""
SELECT kind, name, count(*), count(*) FILTER (outcome = 'error'),
  least(sum(items), 9223372036854775807)::BIGINT, quantile_cont(duration_s, [0.5, 0.95, 0.99])
FROM events WHERE time_us > ? AND time_us <= ?
GROUP BY kind, name ORDER BY count(*) DESC, kind, name LIMIT {_MAX_SUMMARY_ROWS}
"""


class Store:
    """One DuckDB file, opened when it is first needed and again after a failure."""

    def __init__(self, path: Path):
        self.path = path
        self._connection: Any = None  # Any: duckdb has no stable types
        self._position = Position(0, 0)
        self._seq = 0
        self._hours: dict[int, int] = {}
        self._cursors: set[Any] = set()
        self._free = threading.Condition()

    @property
    def position(self) -> Position:
        """Where loading goes on: stored in the same transaction as the rows before it.

        Raises:
            StoreCorrupt, DiskFull, Conflict, Failed: the file cannot be opened.
        """
        self._open()
        return self._position

    def insert(self, rows: Sequence[Row], position: Position) -> int:
        """Store the rows whose ids are new, and the place behind them; give how many were new."""
        connection = self._open()
        with self._translated():
            connection.begin()
            failpoint("store.insert.before_rows")
            count = self._insert_new(connection, rows) if rows else 0
            rollup.advance(connection, self._seq + count)
            failpoint("store.insert.before_offset")
            connection.execute(
                'UPDATE load_offsets SET segment = ?, "offset" = ?', list(position)
            ).fetchall()
            failpoint("store.insert.before_commit")
            connection.commit()
            failpoint("store.insert.after_commit")
        self._position = position
        self._seq += count
        for hour in {row[3] // rollup.HOUR_US for row in rows}:
            self._hours[hour] = self._hours.get(hour, 0) + 1
        if len(self._hours) > _MOST_HOURS:  # of scattered times; none of them takes many loads
            self._hours.clear()
        return count

    def compact(self) -> int:
        """Join the rollups' rows of an hour that took many loads; give how many rows that saved.

        One hour a call, so that it holds loads up by no more than that.
        """
        hour = next((h for h, loads in self._hours.items() if loads >= _COMPACT_LOADS), None)
        if hour is None:
            return 0
        connection = self._open()
        with self._translated():
            connection.begin()
            start = hour * rollup.HOUR_US
            saved = rollup.compact(connection, start, start + rollup.HOUR_US)
            failpoint("store.compact.before_commit")
            connection.commit()
            failpoint("store.compact.after_commit")
        del self._hours[hour]
        return saved

    def overflowing(self) -> bool:
        """Say whether a minute or hour of the last day has groups that are not told apart."""
        connection = self._open()
        now_us = time.time_ns() // 1000
        with self._translated():
            return rollup.overflowing(connection, now_us - 24 * rollup.HOUR_US, now_us)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Give a cursor with a view of the store as it is now; for any thread.

        Raises:
            Overloaded: the store is closed or was closed meanwhile, to be opened again.
        """
        with self._free:
            if self._connection is None:
                raise Overloaded("the analytics store is being opened", retry_after_s=1.0)
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            cursor.close()
            with self._free:
                self._cursors.discard(cursor)
                self._free.notify_all()

    def summary(self, since_us: int, until_us: int) -> tuple[list[SummaryRow], int]:
        """Give figures by kind and name over ``(since_us, until_us]``, and all events stored.

        At most the 1,000 most frequent names; quantiles are exact.
        """
        connection = self._open()
        with self._translated():
            found = connection.execute(_SUMMARY, [since_us, until_us]).fetchall()
            stored = connection.execute("SELECT count(*) FROM events").fetchall()[0][0]
        rows = [
            SummaryRow(
                kind=kind,
                name=name,
                count=count,
                errors=errors,
                items=items,
                p50_s=quantiles[0],
                p95_s=quantiles[1],
                p99_s=quantiles[2],
            )
            for kind, name, count, errors, items, quantiles in found
        ]
        return sorted(rows, key=lambda row: (row.kind, row.name)), int(stored)

    def drop_before(self, cutoff_us: int) -> int:
        """Forget events that happened, or were loaded, before; give how many."""
        connection = self._open()
        with self._translated():
            connection.begin()
            touched = connection.execute(
                "SELECT DISTINCT time_us // 60000000 * 60000000 FROM events "
                "WHERE time_us >= ? AND loaded_us < ?",
                [cutoff_us, cutoff_us],
            ).fetchall()
            # loaded_us too: an event dated far in the future must not stay for ever.
            found = connection.execute(
                "DELETE FROM events WHERE time_us < ? OR loaded_us < ?", [cutoff_us, cutoff_us]
            ).fetchall()
            if found[0][0]:
                rollup.forget(connection, cutoff_us, [minute for (minute,) in touched])
            failpoint("store.retention.before_commit")
            connection.commit()
            failpoint("store.retention.after_commit")
        return int(found[0][0])

    def share_before(self, cutoff_us: int) -> float:
        """Give which part of all events, 0 to 1, `drop_before` would forget."""
        connection = self._open()
        with self._translated():
            found = connection.execute(
                "SELECT coalesce(avg((time_us < ? OR loaded_us < ?)::INTEGER), 0) FROM events",
                [cutoff_us, cutoff_us],
            ).fetchall()
        return float(found[0][0])

    def check(self) -> int:
        """Read every value, which verifies every checksum; give the number of events.

        Raises:
            StoreCorrupt: a block is damaged.
        """
        connection = self._open()
        with self._translated():
            found = connection.execute(
                f"SELECT count(*), max(hash({', '.join(COLUMNS)}, seq, loaded_us)) FROM events"
            ).fetchall()
        return int(found[0][0])

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        with self._free:
            connection, self._connection = self._connection, None
            # DuckDB keeps a file open while a cursor is: a new one would be the old one again.
            deadline = time.monotonic() + _CLOSE_S
            while self._cursors and time.monotonic() < deadline:
                for cursor in self._cursors:
                    cursor.interrupt()
                # Again and again: an interrupt between two statements of a question is lost.
                self._free.wait(0.05)
        if connection is not None:
            failpoint("store.close.before_close")
            connection.close()

    def set_aside(self) -> list[Path]:
        """Rename the file and its write-ahead log; give their new names.

        Raises:
            DiskFull, Failed: the file system refused.
        """
        self.close()
        with self._translated():
            return store_file.set_aside(self.path)

    def _open(self) -> Any:  # Any: a duckdb connection
        if self._connection is not None:
            return self._connection
        # 320 ms of CPU, so not before the daemon is ready, and never in its own thread.
        import duckdb

        with self._translated(opening=True):
            if not self.path.exists():
                store_file.create(self.path, _TABLES, _CONFIG)
            failpoint("store.open.before_connect")
            self._connection = duckdb.connect(str(self.path), config=_CONFIG)
            self._connection.execute(_TABLES).fetchall()
            migrations.migrate(self._connection, self.path.name)
            segment, offset = self._connection.execute(
                'SELECT segment, "offset" FROM load_offsets'
            ).fetchall()[0]
            self._position = Position(segment, offset)
            # Numbers only grow, also where retention has left no event.
            self._seq = self._value(
                "SELECT greatest((SELECT max(seq) + 1 FROM events), max(seq)) FROM rollup_offsets"
            )
        return self._connection

    def _value(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchall()[0][0])

    def _insert_new(self, connection: Any, rows: Sequence[Row]) -> int:
        # numpy is loaded by then in any case: duckdb imports it to scan arrays.
        import numpy as np

        unique = {row[0]: row for row in reversed(rows)}
        ids = {"id": np.array(list(unique), dtype=object)}
        connection.register("batch", ids)
        known = connection.execute(
            "SELECT DISTINCT id FROM events WHERE seq >= ? AND id IN (SELECT id FROM batch)",
            [self._seq - DEDUPE_EVENTS],
        ).fetchall()
        connection.unregister("batch")
        for (key,) in known:
            del unique[key]
        if not unique:
            return 0
        count = len(unique)
        kept = list(reversed(unique.values()))
        columns: dict[str, Any] = {
            name: np.array(values, dtype=_numpy_type(name))
            for name, values in zip(COLUMNS, zip(*kept, strict=True), strict=True)
        }
        columns["seq"] = np.arange(self._seq, self._seq + count, dtype=np.int64)
        columns["loaded_us"] = np.full(count, time.time_ns() // 1000, dtype=np.int64)
        connection.register("batch", columns)
        connection.execute("INSERT INTO events BY NAME SELECT * FROM batch").fetchall()
        connection.unregister("batch")
        return count

    @contextmanager
    def _translated(self, *, opening: bool = False) -> Iterator[None]:
        """Turn errors of DuckDB and the file system into ours; leave no invalid connection."""
        import duckdb  # loaded already; named here for its error classes

        try:
            yield
        except (duckdb.Error, OSError) as err:
            self._discard()
            raise translate(err, self.path, opening=opening) from err
        except BaseException:
            self._discard()  # a transaction may be open
            raise

    def _discard(self) -> None:
        import duckdb

        try:
            self.close()
        except duckdb.Error:
            log.exception("store_not_closed path=%s", self.path)


def _numpy_type(name: str) -> str:
    if name in _INTEGERS:
        return "int64"
    return "float64" if name == "duration_s" else "object"
