"""What a home holds after its daemon ended, read from the files and not from the daemon."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import duckdb

_CHUNKS = """
    SELECT d.path, c.text, c.vector FROM chunks c
    JOIN documents d ON d.id = c.document_id WHERE d.collection_id = ?
"""


@dataclass(frozen=True, slots=True)
class Index:
    """A collection as its SQLite file has it."""

    chunks: Counter[tuple[str, str]]
    """By the document's place in the corpus and the SHA-256 of the chunk's text."""
    vectors: int
    """Chunks whose vector has its full length."""
    full_text_rows: int
    vector_rows: int
    """Rows of the derived indexes."""
    problems: list[str]
    """What SQLite's integrity check says."""


def index_of(home: Path, collection: str, *, below: Path) -> Index:
    """Read a collection from the stopped daemon's file."""
    [file] = (home / "data").rglob("search.sqlite")
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: list[Any] = connection.execute(  # Any: apsw cannot know the columns' types
            "SELECT id, dims FROM collections WHERE name = ?", (collection,)
        ).fetchall()
        [(key, dims)] = found
        rows: list[Any] = connection.execute(_CHUNKS, (key,)).fetchall()
        return Index(
            chunks=Counter(
                (str(Path(path).relative_to(below)), hashlib.sha256(text.encode()).hexdigest())
                for path, text, _ in rows
            ),
            vectors=sum(1 for *_, vector in rows if len(vector) == 4 * dims),
            # The shadow tables need no extension to be read.
            full_text_rows=_count(connection, f"fts_{key}_docsize"),
            vector_rows=_count(connection, f"vec_{key}_rowids"),
            problems=[
                str(row[0]) for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"
            ],
        )
    finally:
        connection.close()


def events_of(home: Path) -> Counter[str]:
    """Count the stored events of the producer by id."""
    [file] = (home / "data").rglob("*.duckdb")
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute("SELECT id FROM events WHERE name = 'fault.event'").fetchall()
    return Counter(row[0] for row in rows)


def _count(connection: apsw.Connection, table: str) -> int:
    found: list[Any] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(found[0][0])
