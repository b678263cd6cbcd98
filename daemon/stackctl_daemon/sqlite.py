"""SQLite opened our way, through apsw (the stdlib's cannot load extensions).

The only importer of apsw. Refuses to know any table. One `Database` belongs to one thread at a
time: its owner runs it in a single-thread executor, or opens one for each reader thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from stackctl.errors import Conflict, DiskFull, StackctlError, StoreCorrupt

Row = tuple[Any, ...]


class Database:
    """A connection in WAL mode; a write is durable when its transaction returns."""

    def __init__(self, path: Path, *, read_only: bool = False, extensions: Sequence[str] = ()):
        self.path = path
        flags = (
            apsw.SQLITE_OPEN_READONLY
            if read_only
            else (apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        )
        with self._translated():
            self._connection = apsw.Connection(str(path), flags=flags)
            self._connection.set_busy_timeout(10_000)
            if extensions:
                self._connection.enable_load_extension(True)
                for extension in extensions:
                    self._connection.load_extension(extension)
                self._connection.enable_load_extension(False)
            if not read_only:
                self._connection.execute("PRAGMA journal_mode=WAL")
                # FULL: an acknowledged row survives power loss, at one fsync a transaction.
                self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._connection.execute("PRAGMA temp_store=MEMORY")

    def rows(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Run one statement and give all its rows."""
        with self._translated():
            return list(self._connection.execute(sql, bindings))

    def each(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Iterator[Row]:
        """Run one statement and give its rows one by one, for what may break on the way."""
        with self._translated():
            yield from self._connection.execute(sql, bindings)

    def row(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Row | None:
        """Run one statement and give its first row, or None."""
        with self._translated():
            return next(iter(self._connection.execute(sql, bindings)), None)

    def value(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """Run one statement and give the first column of its first row, or None."""
        found = self.row(sql, bindings)
        return found[0] if found else None

    def many(self, sql: str, bindings: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of bindings."""
        with self._translated():
            self._connection.executemany(sql, bindings)

    @property
    def last_row_id(self) -> int:
        """Row id of the last insert on this connection."""
        return int(self._connection.last_insert_rowid())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one immediate transaction; nested blocks are savepoints."""
        with self._translated():
            if self._open_transaction():
                with self._connection:
                    yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._open_transaction():
                    self._connection.execute("ROLLBACK")
                raise

    def migrate(self, steps: Sequence[str]) -> None:
        """Bring the schema to ``len(steps)``, each step in its own transaction.

        Raises:
            Conflict: the file was written by a newer stackctl; it is no case for repair.
        """
        version = self._version(steps)
        for number in range(version, len(steps)):
            with self.transaction():
                self.rows(steps[number])
                self.rows(f"PRAGMA user_version={number + 1}")

    def _version(self, steps: Sequence[str]) -> int:
        version = int(self.value("PRAGMA user_version"))
        if version > len(steps):
            raise Conflict(
                f"{self.path.name} has schema {version}, this stackctl knows {len(steps)}",
                hint="pip install --upgrade stackctl",
            )
        return version

    def check(self) -> list[str]:
        """Give the problems that SQLite's quick check finds; none is an empty list."""
        try:
            return [str(r[0]) for r in self.rows("PRAGMA quick_check(20)") if r[0] != "ok"]
        except StoreCorrupt as err:
            return [str(err.__cause__)]  # some damage ends the check itself

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._connection.close()

    def _open_transaction(self) -> bool:
        # A method, because a type checker does not know that statements change the property.
        return bool(self._connection.in_transaction)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as err:
            raise DiskFull(
                f"no space left for {self.path}", hint=f"df -h {self.path.parent}"
            ) from err
        except (apsw.CorruptError, apsw.NotADBError) as err:
            raise StoreCorrupt(
                f"{self.path} is not a sound database: {err}", hint="stackctl doctor --repair"
            ) from err
        except apsw.IOError as err:
            raise DiskFull(
                f"writing {self.path} failed: {err}", hint=f"df -h {self.path.parent}"
            ) from err


def open_sound(path: Path, steps: Sequence[str]) -> Database:
    """Open or create a small database, bring its schema up to date and check every page.

    For some thousand rows, which takes milliseconds: a row that cannot be read is better known
    now than at the first list.

    Raises:
        StoreCorrupt: the file is not a sound database.
        Conflict: a newer stackctl wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(path)
    try:
        database.migrate(steps)
        if problems := database.check():
            raise StoreCorrupt(
                f"{path} is damaged: {problems[0]}", hint="stackctl doctor --repair"
            )
    except BaseException:
        database.close()
        raise
    return database


def refuse_newer(path: Path, steps: Sequence[str]) -> None:
    """Keep repair off a sound file of a newer stackctl; a damaged or missing one passes.

    Raises:
        Conflict: the file's schema is newer than ``steps``.
    """
    if not path.exists():
        return
    try:
        database = Database(path, read_only=True)
    except StackctlError:
        return
    try:
        database._version(steps)
    except StoreCorrupt:
        return
    finally:
        database.close()
