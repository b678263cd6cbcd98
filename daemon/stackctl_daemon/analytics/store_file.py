"""The store's file as a whole: made under another name first, set aside when it is damaged.

Refuses to read it. A process killed between any two steps leaves what the next one goes on from:
a file and its write-ahead log are never those of two different stores.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from stackctl_daemon.analytics import directory
from stackctl_daemon.failpoints import failpoint


def create(path: Path, tables: str, config: dict[str, Any]) -> None:
    """Make the file with its tables; nothing lies at ``path`` before all of it does.

    DuckDB leaves a stub that it cannot open again when the disk is full at that moment.

    Raises:
        OSError, duckdb.Error: the file system refused.
    """
    import duckdb  # loaded already by whoever opens the file

    new = path.with_name(f"{path.name}.new")
    for leftover in (new, _log_of(new)):
        failpoint("store.create.before_unlink")
        leftover.unlink(missing_ok=True)
    if _log_of(path).exists():
        # Killed while it was set aside: the new file must not be opened with the old one's log.
        set_aside(path)
    try:
        failpoint("store.create.before_connect")
        with duckdb.connect(str(new), config=config) as connection:
            connection.execute(tables).fetchall()
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    failpoint("store.create.before_rename")
    new.replace(path)
    failpoint("store.create.before_sync")
    directory.sync(path.parent)
    failpoint("store.create.after_sync")


def set_aside(path: Path) -> list[Path]:
    """Rename a closed file and its write-ahead log to names that were free; give these.

    Raises:
        OSError: the file system refused.
    """
    aside = _free_name(path)
    moved = []
    for old, new in ((path, aside), (_log_of(path), _log_of(aside))):
        if old.exists():
            failpoint("store.set_aside.before_rename")
            old.rename(new)
            failpoint("store.set_aside.after_rename")
            moved.append(new)
    failpoint("store.set_aside.before_sync")
    directory.sync(path.parent)
    return moved


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for n in itertools.count():
        name = path.with_name(f"{path.name}.corrupt-{stamp}{f'-{n}' if n else ''}")
        # What was set aside before may be the only copy of events.
        if not name.exists() and not _log_of(name).exists():
            return name
    raise AssertionError("there is always a free name")


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
