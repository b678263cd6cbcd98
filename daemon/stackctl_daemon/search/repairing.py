"""Makes a store again from what is left of a damaged one; refuses to delete anything."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stackctl.errors import DiskFull, StackctlError
from stackctl_daemon.search.roster import Listed, Roster, missing
from stackctl_daemon.search.schema import STEPS
from stackctl_daemon.search.store import Store
from stackctl_daemon.search.walk import shown
from stackctl_daemon.sqlite import Database, refuse_newer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Salvage:
    """What is left of a store."""

    aside: Path | None
    """Where the damaged file lies now; None when it stays where it was."""
    collections: Listed
    """What is to be restored."""
    complete: bool
    """False when there may have been collections that nothing names any more."""
    present: dict[str, list[str]] = field(default_factory=dict)
    """Sources to index again, by collection."""
    absent: list[tuple[str, str]] = field(default_factory=list)
    """Collection and source of which no file is there."""


def lost_by(store: Store) -> Listed:
    """Give what the roster names and a store lacks; note the store's own list when it is whole."""
    found = store.listed()
    lost = missing(store.roster.read() or {}, found)
    if not lost:
        try:
            store.roster.write(found)
        except DiskFull as err:
            # A store that can be read must not be refused for its copy's sake.
            log.warning("roster_not_written error=%s", err.message)
    return lost


def salvage_all(file: Path, lost: Listed) -> Salvage:
    """Find out what can be restored, and set the file aside when it is damaged.

    Args:
        file: the store, which nobody has open.
        lost: what a store that is sound otherwise lacks; empty when it is damaged.

    Raises:
        Conflict: a newer stackctl wrote it; nothing is touched.
    """
    if lost:
        return _sorted(Salvage(None, lost, True))
    refuse_newer(file, STEPS)
    noted = Roster(file).read()
    aside = set_aside(file)
    found, whole = _read(aside) if aside else ({}, noted is not None)
    # The roster is in the right where both speak: what is read of a damaged file may be old.
    return _sorted(Salvage(aside, found | (noted or {}), whole or noted is not None))


def begin_again(file: Path, found: Salvage) -> None:
    """Put the collections and their sources into the store, made anew when it is not there."""
    store = Store(file)
    try:
        for name, sources in found.collections.items():
            store.ensure_collection(name, sources.items())
    finally:
        store.close()


def told(found: Salvage) -> list[str]:
    """Say what was restored and what was not."""
    said = [f"set {found.aside} aside"] if found.aside else []
    for name, sources in found.collections.items():
        watched = f", {on} watched" if (on := sum(sources.values())) else ""
        said.append(f"restored collection {name} with {len(sources)} sources{watched}")
    for name, path in found.absent:
        said.append(f"lost: no files at {path}, so its documents in {name} cannot be made again")
    if not found.complete:
        said.append(
            "lost: the list of collections could not be read whole;"
            " index what is missing again: stackctl index PATH"
        )
    return said


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


def _read(file: Path) -> tuple[Listed, bool]:
    """Give the collections of a damaged database as far as they can be read, and whether all."""
    found: Listed = {}
    try:
        database = Database(file, read_only=True)
    except StackctlError:
        return found, False
    try:
        for collection_id, name in database.rows("SELECT id, name FROM collections"):
            sql = "SELECT path, watched FROM sources WHERE collection_id = ?"
            found[str(name)] = {}
            rows = database.rows(sql, (collection_id,))
            found[str(name)] = {bytes(path): bool(on) for path, on in rows}
    except Exception:  # damage shows as any of SQLite's errors: what was read before it counts
        return found, False
    finally:
        database.close()
    return found, True


def _sorted(found: Salvage) -> Salvage:
    """Tell the sources that are there from those that are not."""
    for name, sources in found.collections.items():
        for path in sources:
            root = os.fsdecode(path)
            if Path(root).exists():
                found.present.setdefault(name, []).append(root)
            else:
                found.absent.append((name, shown(path)))
    return found
