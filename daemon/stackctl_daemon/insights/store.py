"""Incidents on disk: one SQLite table; refuses to decide anything.

Belongs to one thread at a time: the service calls it in a single-thread executor.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from stackctl.contracts.insight import Insight
from stackctl_daemon.sqlite import open_sound

KEPT = 500
"""Resolved incidents remembered; the oldest beyond are forgotten."""

_MIGRATIONS = (
    """CREATE TABLE insight (
        id TEXT PRIMARY KEY,
        resolved_us INTEGER NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE TABLE checked (one INTEGER PRIMARY KEY CHECK (one = 1), at_us INTEGER NOT NULL)",
)


class InsightStore:
    """Rows of incidents; each write is durable when it returns."""

    def __init__(self, path: Path) -> None:
        """Open or create the database.

        Raises:
            StoreCorrupt: the file is not a sound database.
            Conflict: a newer stackctl wrote it.
        """
        self._database = open_sound(path, _MIGRATIONS)

    def load(self) -> tuple[list[Insight], int]:
        """Give every incident, and when the engine last looked; 0: not yet."""
        rows = self._database.rows("SELECT body FROM insight ORDER BY rowid")
        checked: Any = self._database.value("SELECT at_us FROM checked")
        return [msgspec.json.decode(_body(row), type=Insight) for row in rows], checked or 0

    def save(self, insights: Iterable[Insight], checked_us: int) -> list[str]:
        """Write incidents and the time of the check in one transaction; give who was forgotten."""
        with self._database.transaction():
            for insight in insights:
                self._database.rows(
                    "INSERT INTO insight (id, resolved_us, body) VALUES (?, ?, ?) ON CONFLICT (id)"
                    " DO UPDATE SET resolved_us = excluded.resolved_us, body = excluded.body",
                    (insight.id, insight.resolved_us, msgspec.json.encode(insight)),
                )
            self._database.rows(
                "INSERT INTO checked VALUES (1, ?) ON CONFLICT (one) DO UPDATE"
                " SET at_us = excluded.at_us",
                (checked_us,),
            )
            gone = self._database.rows(
                "SELECT id FROM insight WHERE resolved_us > 0"
                " ORDER BY resolved_us DESC LIMIT -1 OFFSET ?",
                (KEPT,),
            )
            for row in gone:
                self._database.rows("DELETE FROM insight WHERE id = ?", row)
        return [str(row[0]) for row in gone]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _body(row: tuple[Any, ...]) -> bytes:
    body: bytes = row[0]
    return body
