"""What a home holds after its daemon ended, read from the files and not from the daemon."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import duckdb


def chunks_of(home: Path, collection: str, *, below: Path) -> Counter[tuple[str, str]]:
    """Count the chunks of a collection by document path and SHA-256 of their text."""
    [file] = (home / "data").rglob("search.db")
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        # Any: apsw cannot know the columns' types.
        rows: list[Any] = connection.execute(CHUNKS_SQL, (collection,)).fetchall()
    finally:
        connection.close()
    return Counter((relative(path, below), hashlib.sha256(text.encode()).hexdigest())
                   for path, text in rows)  # fmt: skip


CHUNKS_SQL = """
    SELECT d.path, c.text FROM chunk c JOIN document d ON d.id = c.document_id
    JOIN collection k ON k.id = d.collection_id WHERE k.name = ?
"""


def relative(path: str | bytes, below: Path) -> str:
    """Name a document by its place in the corpus."""
    text = path.decode(errors="surrogateescape") if isinstance(path, bytes) else path
    return str(Path(text).relative_to(below))


def events_of(home: Path) -> Counter[str]:
    """Count the stored events of the producer by id."""
    [file] = (home / "data").rglob("*.duckdb")
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute("SELECT id FROM events WHERE name = 'fault.event'").fetchall()
    return Counter(row[0] for row in rows)
