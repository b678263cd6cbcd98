"""Sets a corrupt store aside and reads from it what can be read; refuses to delete anything."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from stackctl.errors import StackctlError
from stackctl_daemon.sqlite import Database

Lost = list[tuple[str, list[tuple[bytes, bool]]]]
"""Collections by name, with their sources and whether each was watched."""


def set_aside(file: Path) -> Path | None:
    """Rename a database and its journals, and give the new name; None when there is none."""
    if not file.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = file.with_name(f"{file.name}.corrupt-{stamp}")
    # The journals first: a fresh database must never meet an old journal.
    for suffix in ("-wal", "-shm", ""):
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def salvage(file: Path) -> Lost:
    """Give the collections and sources of a damaged database, as far as they can be read."""
    found: Lost = []
    try:
        database = Database(file, read_only=True)
    except StackctlError:
        return found
    try:
        for collection_id, name in database.rows("SELECT id, name FROM collections"):
            sql = "SELECT path, watched FROM sources WHERE collection_id = ?"
            rows = database.rows(sql, (collection_id,))
            found.append((str(name), [(bytes(path), bool(on)) for path, on in rows]))
    except Exception:  # damage shows as any of SQLite's errors: what was read before it counts
        return found
    finally:
        database.close()
    return found
