"""Documents, chunks and their indexes in SQLite; refuses to rank or to read files.

The only importer of sqlite-vec. Every method is synchronous and belongs to the thread that made
the `Store`; `stackctl_daemon.search.threads` gives each thread its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sqlite_vec

from stackctl.errors import Conflict, NotFound
from stackctl_daemon.search.chunking import Chunk
from stackctl_daemon.search.roster import Listed, Roster
from stackctl_daemon.search.schema import STEPS, derived, fts_table, vec_table
from stackctl_daemon.search.walk import shown
from stackctl_daemon.sqlite import Database

FloatArray = npt.NDArray[np.float32]


class CollectionRow(NamedTuple):
    """A collection's own row."""

    id: int
    name: str
    model: str
    """Empty until the first document is written."""
    dims: int


class Known(NamedTuple):
    """What the index remembers of a file."""

    id: int
    size: int
    mtime_ns: int
    sha256: bytes


class NewDocument(NamedTuple):
    """A document to store, whole."""

    path: bytes
    title: str
    type: str
    size: int
    mtime_ns: int
    sha256: bytes
    chunks: Sequence[Chunk]
    vectors: FloatArray
    """``(len(chunks), dims)`` float32, normalised rows."""


class Store:
    """One connection to the search database."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.roster = Roster(path)
        self.db = Database(path, read_only=read_only, extensions=[sqlite_vec.loadable_path()])
        if not read_only:
            self.db.migrate(STEPS)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    # Collections and sources

    def names(self) -> list[str]:
        """Names of all collections, sorted."""
        return [str(row[0]) for row in self.db.rows("SELECT name FROM collections ORDER BY name")]

    def collection(self, name: str) -> CollectionRow:
        """Give a collection.

        Raises:
            NotFound: there is none of this name.
        """
        sql = "SELECT id, name, model, dims FROM collections WHERE name = ?"
        row = self.db.row(sql, (name,))
        if row is None:
            raise NotFound(f'collection "{name}" not found', hint="stackctl index PATH")
        return CollectionRow(*row)

    def ensure_collection(self, name: str, sources: Iterable[tuple[bytes, bool | None]]) -> None:
        """Make a collection if there is none, and add sources.

        A source beside None stays watched or not, as it was.
        """
        with self.db.transaction():
            self.db.rows(
                "INSERT INTO collections (name) VALUES (?) ON CONFLICT DO NOTHING", (name,)
            )
            found = self.collection(name)
            self.db.many(
                "INSERT INTO sources (collection_id, path, watched)"
                " VALUES (?1, ?2, coalesce(?3, 0)) ON CONFLICT DO UPDATE"
                " SET watched = coalesce(?3, watched)",
                [(found.id, path, watched) for path, watched in sources],
            )
        self.roster.add(name, self.sources(found.id))

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all it holds."""
        with self.db.transaction():
            found = self.collection(name)
            self.roster.forget(name)
            self._drop_derived(found)
            self.db.rows("DELETE FROM collections WHERE id = ?", (found.id,))

    def sources(self, collection_id: int) -> list[tuple[bytes, bool]]:
        """Give a collection's sources, sorted, and whether each is watched."""
        sql = "SELECT path, watched FROM sources WHERE collection_id = ? ORDER BY path"
        return [
            (bytes(path), bool(watched)) for path, watched in self.db.rows(sql, (collection_id,))
        ]

    def listed(self) -> Listed:
        """Give all collections with their sources."""
        return {name: dict(self.sources(self.collection(name).id)) for name in self.names()}

    def drop_sources(self, name: str, root: bytes) -> None:
        """Forget the sources at and under a path, and the disks below them."""
        with self.db.transaction():
            found = self.collection(name)
            for table in ("sources", "disks"):
                self.db.rows(
                    f"DELETE FROM {table} WHERE collection_id = ?1 AND {_UNDER.format('path')}",
                    (found.id, *_under(root)),
                )
            self.roster.write(self.listed())

    def disks(self, collection_id: int, root: bytes) -> dict[bytes, int]:
        """Give the devices noted of folders at and under a path."""
        rows = self.db.rows(
            f"SELECT path, device FROM disks WHERE collection_id = ?1 AND {_UNDER.format('path')}",
            (collection_id, *_under(root)),
        )
        return {bytes(path): int(device) for path, device in rows}

    def note_disks(self, name: str, devices: Mapping[bytes, int | None]) -> None:
        """Note the devices of folders; None forgets one."""
        with self.db.transaction():
            found = self.collection(name)
            gone = [(found.id, path) for path, device in devices.items() if device is None]
            self.db.many("DELETE FROM disks WHERE collection_id = ? AND path = ?", gone)
            self.db.many(
                "INSERT OR REPLACE INTO disks (collection_id, path, device) VALUES (?, ?, ?)",
                [
                    (found.id, path, device)
                    for path, device in devices.items()
                    if device is not None
                ],
            )

    def counts(self, collection_id: int) -> tuple[int, int, str | None]:
        """Give a collection's documents, chunks and the time of its last change."""
        sql = "SELECT count(*), max(indexed_at) FROM documents WHERE collection_id = ?"
        documents, updated_at = self.db.row(sql, (collection_id,)) or (0, None)
        return documents, self.chunk_count(collection_id), updated_at

    def chunk_count(self, collection_id: int) -> int:
        """Count the chunks of a collection."""
        return int(
            self.db.value(
                "SELECT count(*) FROM documents d JOIN chunks c ON c.document_id = d.id"
                " WHERE d.collection_id = ?",
                (collection_id,),
            )
        )

    # Documents

    def known(self, collection_id: int, root: bytes) -> dict[bytes, Known]:
        """Give what is indexed at and under a path."""
        rows = self.db.rows(
            "SELECT path_bytes, id, size, mtime_ns, sha256 FROM documents"
            f" WHERE collection_id = ?1 AND {_UNDER.format('path_bytes')}",
            (collection_id, *_under(root)),
        )
        return {bytes(path): Known(*rest) for path, *rest in rows}

    def holds(self, collection_id: int, root: bytes) -> bool:
        """Say whether a path is a source, or anything is indexed at or under it."""
        return any(
            self.db.row(
                f"SELECT 1 FROM {table} WHERE collection_id = ?1 AND {_UNDER.format(column)}",
                (collection_id, *_under(root)),
            )
            for table, column in (("documents", "path_bytes"), ("sources", "path"))
        )

    def shown_as(self, collection_id: int, text: str) -> list[bytes]:
        """Give the paths of documents, sources and their folders that are shown as ``text``."""
        rows = self.db.rows(
            "SELECT path_bytes FROM documents WHERE collection_id = ?1"
            " AND (path = ?2 OR (path >= ?3 AND path < ?4))",
            (collection_id, text, text + "/", text + "0"),
        )
        paths = [bytes(row[0]) for row in rows]
        paths += [path for path, _ in self.sources(collection_id)]
        depth = text.count("/") + 1
        folders = {b"/".join(path.split(b"/")[:depth]) for path in paths}
        return sorted(folder for folder in folders if shown(folder) == text)

    def write(self, name: str, model: str, documents: Sequence[NewDocument]) -> None:
        """Store documents whole, in one transaction, in the place of their older versions.

        Raises:
            Conflict: the collection holds vectors of another model.
            DiskFull: nothing of the batch was stored.
        """
        with self.db.transaction():
            found = self._adopt(self.collection(name), model, documents)
            for document in documents:
                self._replace(found, document)

    def touch(self, rows: Sequence[tuple[int, int]]) -> None:
        """Note new times of files whose bytes did not change: ``(mtime_ns, document id)``."""
        with self.db.transaction():
            self.db.many("UPDATE documents SET mtime_ns = ? WHERE id = ?", rows)

    def remove(self, name: str, document_ids: Sequence[int]) -> None:
        """Delete documents, in one transaction."""
        with self.db.transaction():
            found = self.collection(name)
            for document_id in document_ids:
                self._delete(found, document_id)

    def rebuild(self, name: str) -> int:
        """Drop a collection's derived tables and fill them from its chunks; give the count."""
        with self.db.transaction():
            found = self.collection(name)
            if not found.dims:
                return 0
            self._drop_derived(found)
            for statement in derived(found.id, found.dims):
                self.db.rows(statement)
            rows = self.db.rows(
                "SELECT c.id, d.title, c.heading, c.text, c.vector FROM documents d"
                " JOIN chunks c ON c.document_id = d.id WHERE d.collection_id = ?",
                (found.id,),
            )
            for chunk_id, title, heading, text, vector in rows:
                self._derive(found, chunk_id, indexed_heading(title, heading), text, vector)
            return len(rows)

    # Inside a transaction

    def _adopt(
        self, found: CollectionRow, model: str, documents: Sequence[NewDocument]
    ) -> CollectionRow:
        """Bind a fresh collection to a model; hold an older one to its own."""
        dims = next((int(d.vectors.shape[1]) for d in documents if len(d.chunks)), 0)
        if not dims:
            return found
        if not found.dims:
            sql = "UPDATE collections SET model = ?, dims = ? WHERE id = ?"
            self.db.rows(sql, (model, dims, found.id))
            for statement in derived(found.id, dims):
                self.db.rows(statement)
            return found._replace(model=model, dims=dims)
        if (found.model, found.dims) != (model, dims):
            raise Conflict(
                f'collection "{found.name}" holds {found.dims}-d vectors of "{found.model}",'
                f' not {dims}-d of "{model}"',
                hint="stackctl index --collection NEW PATH",
            )
        return found

    def _replace(self, found: CollectionRow, document: NewDocument) -> None:
        sql = "SELECT id FROM documents WHERE collection_id = ? AND path_bytes = ?"
        old = self.db.value(sql, (found.id, document.path))
        if old is not None:
            self._delete(found, old)
        self.db.rows(
            "INSERT INTO documents (collection_id, path_bytes, path, title, type, size, mtime_ns,"
            " sha256, indexed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                found.id,
                document.path,
                shown(document.path),
                document.title,
                document.type,
                document.size,
                document.mtime_ns,
                document.sha256,
                datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            ),
        )
        document_id = self.db.last_row_id
        for ordinal, piece in enumerate(document.chunks):
            vector = np.ascontiguousarray(document.vectors[ordinal], dtype="<f4").tobytes()
            place = (piece.heading, piece.page, piece.line_start, piece.line_end)
            self.db.rows(
                "INSERT INTO chunks (document_id, ordinal, text, heading, page, line_start,"
                " line_end, vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (document_id, ordinal, piece.text, *place, vector),
            )
            heading = indexed_heading(document.title, piece.heading)
            self._derive(found, self.db.last_row_id, heading, piece.text, vector)

    def _derive(
        self, found: CollectionRow, chunk_id: int, heading: str, text: str, vector: bytes
    ) -> None:
        self.db.rows(
            f"INSERT INTO {fts_table(found.id)} (rowid, heading, text) VALUES (?, ?, ?)",
            (chunk_id, heading, text),
        )
        columns, values, bindings = "rowid, embedding", "?, ?", [chunk_id, vector]
        if found.dims % 8 == 0:
            columns, values = columns + ", coarse", values + ", vec_quantize_binary(?)"
            bindings.append(vector)
        self.db.rows(f"INSERT INTO {vec_table(found.id)} ({columns}) VALUES ({values})", bindings)

    def _delete(self, found: CollectionRow, document_id: int) -> None:
        sql = "SELECT id FROM chunks WHERE document_id = ?"
        ids: list[tuple[Any]] = [(row[0],) for row in self.db.rows(sql, (document_id,))]
        if ids:
            for table in (fts_table(found.id), vec_table(found.id)):
                self.db.many(f"DELETE FROM {table} WHERE rowid = ?", ids)
        self.db.rows("DELETE FROM documents WHERE id = ?", (document_id,))

    def _drop_derived(self, found: CollectionRow) -> None:
        for table in (fts_table(found.id), vec_table(found.id)):
            self.db.rows(f"DROP TABLE IF EXISTS {table}")


# "0" follows "/": all that starts with the prefix, from the index.
_UNDER = "({0} = ?2 OR ({0} >= ?3 AND {0} < ?4))"


def _under(root: bytes) -> tuple[bytes, bytes, bytes]:
    """Bindings 2 to 4 of `_UNDER`."""
    prefix = root.rstrip(b"/") + b"/"
    return root, prefix, prefix[:-1] + b"0"


def indexed_heading(title: str, heading: str) -> str:
    """Give what the full-text index holds beside a chunk's text."""
    return title if not heading or heading == title else f"{title} {heading}"
