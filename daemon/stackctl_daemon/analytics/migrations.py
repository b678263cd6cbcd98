"""Migrations of the analytics file, in steps that are a transaction each.

Refuses to open files. A process killed at any moment leaves a file that the next one goes on
with: a step's work and its record are one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stackctl.errors import Conflict
from stackctl_daemon.analytics import rollup
from stackctl_daemon.failpoints import failpoint

log = logging.getLogger(__name__)

VERSION = 2
"""Of the files that this release writes: 1 has events, 2 their rollups too."""
CHUNK_EVENTS = 200_000
"""Events that a step rolls up: about 0.3 s of work."""

Step = Callable[[str], None]


def migrate(connection: Any, name: str, *, done: Step = lambda _: None) -> None:
    """Bring an open file to `VERSION`; ``done`` is told of each step before it is committed
    and after.

    Raises:
        Conflict: the file is of a newer release; it is left as it is.
    """
    version = _value(connection, "SELECT max(version) FROM schema_version")
    if version > VERSION:
        raise Conflict(
            f"{name} has schema {version}, this stackctl knows {VERSION}",
            hint="pip install --upgrade stackctl",
        )
    if version < 2:
        _to_2(connection, done)
        log.info("store_migrated path=%s version=2", name)


def _to_2(connection: Any, done: Step) -> None:
    _step(connection, "tables", lambda: connection.execute(rollup.TABLES).fetchall(), done)
    end = _value(connection, "SELECT coalesce(max(seq) + 1, 0) FROM events")
    at = _value(connection, "SELECT seq FROM rollup_offsets")
    at = max(at, _value(connection, "SELECT coalesce(min(seq), 0) FROM events"))
    while at < end:
        at = min(at + CHUNK_EVENTS, end)
        until = at
        _step(connection, "events", lambda: rollup.advance(connection, until), done)  # noqa: B023 - run at once
    record = "INSERT INTO schema_version VALUES (2)"
    _step(connection, "version", lambda: connection.execute(record).fetchall(), done)


def _step(connection: Any, name: str, work: Callable[[], Any], done: Step) -> None:
    connection.begin()
    work()
    done(f"{name} before commit")
    failpoint("store.migrate.before_commit")
    connection.commit()
    failpoint("store.migrate.after_commit")
    done(f"{name} after commit")


def _value(connection: Any, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])
