"""Events in DuckDB; the only importer of duckdb.

Every method runs in the loader's one thread. Refuses to read segments: it stores rows together
with the place they came from, in one transaction: a crash neither loses nor repeats them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackctl.contracts.event import SummaryRow
from stackctl.errors import Conflict, DiskFull, Failed, StackctlError, StoreCorrupt
from stackctl_daemon.analytics.frame import COLUMNS, Row
from stackctl_daemon.analytics.segment_log import Position

log = logging.getLogger(__name__)

DEDUPE_EVENTS = 1_000_000
"""An id is recognised among this many events before it: 28 ms to look through on one core."""

_MAX_SUMMARY_ROWS = 1000
_SCHEMA = 1
_INTEGERS = {"time_us", "items", "tokens", "uid"}
_CONFIG = {
    "memory_limit": "256MB",
    "threads": 2,
    # Readable by older releases: a file of the newest format cannot be opened after a downgrade.
    "storage_compatibility_version": "v1.4.0",
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
}
_TYPES = {"duration_s": "DOUBLE", **dict.fromkeys(_INTEGERS, "BIGINT")}
_TABLES = f"""
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER);
CREATE TABLE IF NOT EXISTS load_offsets (segment BIGINT, "offset" BIGINT);
CREATE TABLE IF NOT EXISTS events (
  {", ".join(f"{name} {_TYPES.get(name, 'VARCHAR')}" for name in COLUMNS)},
  seq BIGINT, loaded_us BIGINT);
INSERT INTO schema_version SELECT {_SCHEMA} WHERE NOT EXISTS (FROM schema_version);
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
            count = self._insert_new(connection, rows) if rows else 0
            connection.execute(
                'UPDATE load_offsets SET segment = ?, "offset" = ?', list(position)
            ).fetchall()
            connection.commit()
        self._position = position
        self._seq += count
        return count

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
            # loaded_us too: an event dated far in the future must not stay for ever.
            found = connection.execute(
                "DELETE FROM events WHERE time_us < ? OR loaded_us < ?", [cutoff_us, cutoff_us]
            ).fetchall()
        return int(found[0][0])

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
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def set_aside(self) -> list[Path]:
        """Rename the file and its write-ahead log; give their new names."""
        self.close()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        moved = []
        for suffix in ("", ".wal"):
            old = self.path.with_name(self.path.name + suffix)
            if old.exists():
                new = self.path.with_name(f"{self.path.name}.corrupt-{stamp}{suffix}")
                old.replace(new)
                moved.append(new)
        return moved

    def _open(self) -> Any:  # Any: a duckdb connection
        if self._connection is not None:
            return self._connection
        # 320 ms of CPU, so not before the daemon is ready, and never in its own thread.
        import duckdb

        with self._translated(opening=True):
            if not self.path.exists():
                self._create()
            self._connection = duckdb.connect(str(self.path), config=_CONFIG)
            self._connection.execute(_TABLES).fetchall()
            version = self._value("SELECT max(version) FROM schema_version")
            if version > _SCHEMA:
                raise Conflict(
                    f"{self.path.name} has schema {version}, this stackctl knows {_SCHEMA}",
                    hint="pip install --upgrade stackctl",
                )
            segment, offset = self._connection.execute(
                'SELECT segment, "offset" FROM load_offsets'
            ).fetchall()[0]
            self._position = Position(segment, offset)
            self._seq = self._value("SELECT coalesce(max(seq) + 1, 0) FROM events")
        return self._connection

    def _create(self) -> None:
        """Make the file whole under another name first.

        DuckDB leaves a stub that it cannot open again when the disk is full at that moment.
        """
        import duckdb

        new = self.path.with_name(f"{self.path.name}.new")
        for leftover in (new, new.with_name(f"{new.name}.wal")):
            leftover.unlink(missing_ok=True)
        try:
            with duckdb.connect(str(new), config=_CONFIG) as connection:
                connection.execute(_TABLES).fetchall()
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        new.replace(self.path)

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
        """Turn DuckDB's errors into ours and leave no connection that may be invalid."""
        import duckdb  # loaded already; named here for its error classes

        try:
            yield
        except duckdb.Error as err:
            self._discard()
            raise self._translate(err, opening=opening) from err
        except BaseException:
            self._discard()  # a transaction may be open
            raise

    def _discard(self) -> None:
        import duckdb

        try:
            self.close()
        except duckdb.Error:
            log.exception("store_not_closed path=%s", self.path)

    def _translate(self, err: Exception, *, opening: bool) -> StackctlError:
        import duckdb

        text = str(err)
        if any(part in text for part in ("No space left", "File too large", "quota exceeded")):
            return DiskFull(f"no space left for {self.path}", hint=f"df -h {self.path.parent}")
        if "lock on file" in text:
            return Conflict(
                f"{self.path} is open in another process", hint=f"fuser -v {self.path}"
            )
        if isinstance(err, duckdb.OutOfMemoryException):
            return Failed(
                f"the analytics store needs more than {_CONFIG['memory_limit']} for this: "
                "ask for a shorter window"
            )
        damage = ("Corrupt database file", "not a valid DuckDB", "Could not read enough bytes")
        broken = isinstance(err, (duckdb.SerializationException, duckdb.InternalException))
        missing = isinstance(err, (duckdb.CatalogException, duckdb.BinderException))
        if broken or any(part in text for part in damage) or (opening and missing):
            return StoreCorrupt(
                f"{self.path} is damaged: {text.splitlines()[0]}", hint="stackctl doctor --repair"
            )
        return Failed(f"the analytics store failed: {text.splitlines()[0]}")


def _numpy_type(name: str) -> str:
    if name in _INTEGERS:
        return "int64"
    return "float64" if name == "duration_s" else "object"
