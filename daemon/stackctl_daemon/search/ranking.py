"""Finds and ranks chunks of a collection; refuses to write, and to read a whole collection.

Fusion: reciprocal rank fusion, Cormack, Clarke & Buettcher 2009, with a weight for each arm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stackctl.settings import SearchSettings
from stackctl_daemon.search.query import KeywordQuery
from stackctl_daemon.search.schema import fts_table, vec_table
from stackctl_daemon.search.store import CollectionRow, FloatArray, Store

DEPTH = 200
"""Candidates that each arm hands to the fusion."""
COARSE_ABOVE_ROWS = 20_000
"""Above it the scan goes over bits first, which is less than half the work."""
COARSE_DEPTH = 1000
"""Rows that the scan over bits hands to exact rescoring; sqlite-vec's own bound is 4096."""
CHUNKS_PER_DOCUMENT = 2


class Scored(NamedTuple):
    """A chunk and its arm's own score, larger is better."""

    chunk_id: int
    document_id: int
    score: float


@dataclass(slots=True)
class Ranked:
    """A chunk after fusion."""

    chunk_id: int
    document_id: int
    score: float = 0.0
    keyword_rank: int | None = None
    semantic_rank: int | None = None
    keyword_score: float | None = None
    semantic_score: float | None = None


class Filter(NamedTuple):
    """A condition on ``documents d``, and its bindings; empty when all may pass."""

    sql: str
    bindings: tuple[Any, ...]


def document_filter(path: str, type_: str) -> Filter:
    """Give the condition for a path, folder or glob, and a type."""
    parts: list[str] = []
    bindings: list[Any] = []
    if path:
        clean = path.rstrip("/")
        # "0" follows "/": all that starts with the folder.
        either = ["d.path = ?", "(d.path >= ? AND d.path < ?)"]
        bindings += [clean or "/", clean + "/", clean + "0"]
        if re.search(r"[*?\[]", path) or not path.startswith("/"):
            glob = path if path.startswith(("/", "*")) else f"*/{path}"
            either += ["d.path GLOB ?", "d.path GLOB ?"]
            bindings += [glob, f"{glob.rstrip('/')}/*"]
        parts.append(f"({' OR '.join(either)})")
    if type_:
        parts.append("d.type = ?")
        bindings.append(type_)
    return Filter(" AND ".join(parts), tuple(bindings))


def keyword_arm(
    store: Store, found: CollectionRow, query: KeywordQuery, keep: Filter
) -> list[Scored]:
    """Rank by BM25: chunks with all terms first, then those with some."""
    if not found.dims or not query.some:
        return []
    hits = _match(store, found, query.every, keep)
    if len(hits) < DEPTH and query.some != query.every:
        seen = {hit.chunk_id for hit in hits}
        more = _match(store, found, query.some, keep)
        hits += [hit for hit in more if hit.chunk_id not in seen]
    return hits[:DEPTH]


def _match(store: Store, found: CollectionRow, match: str, keep: Filter) -> list[Scored]:
    table = fts_table(found.id)
    condition = f" AND {keep.sql}" if keep.sql else ""
    # CROSS JOIN keeps the order: the full-text index first, then its rows' documents.
    joined = " CROSS JOIN documents d ON d.id = c.document_id" if keep.sql else ""
    rows = store.db.rows(
        f"SELECT c.id, c.document_id, -{table}.rank FROM {table} CROSS JOIN chunks c"
        f" ON c.id = {table}.rowid{joined} WHERE {table} MATCH ?{condition}"
        f" ORDER BY {table}.rank LIMIT {DEPTH}",
        (match, *keep.bindings),
    )
    return [Scored(*row) for row in rows]


def semantic_arm(
    store: Store, found: CollectionRow, vector: FloatArray, keep: Filter
) -> list[Scored]:
    """Rank by cosine; ``vector`` is ``(dims,)`` float32, normalised."""
    if not found.dims:
        return []
    where, bindings = "", ()
    if keep.sql:
        where = (
            " AND rowid IN (SELECT c.id FROM documents d JOIN chunks c ON c.document_id = d.id"
            f" WHERE d.collection_id = {found.id} AND {keep.sql})"
        )
        bindings = keep.bindings
    blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    table = vec_table(found.id)
    if found.dims % 8 == 0 and _rows(store, table) > COARSE_ABOVE_ROWS:
        sql = (
            f"SELECT rowid FROM {table} WHERE coarse MATCH vec_quantize_binary(?) AND k = ?{where}"
        )
        return _rescored(
            store, [r[0] for r in store.db.rows(sql, (blob, COARSE_DEPTH, *bindings))], vector
        )
    rows = store.db.rows(
        # MATERIALIZED: a flattened subquery would hand vec0 an order that it refuses.
        f"WITH v AS MATERIALIZED (SELECT rowid AS id, distance FROM {table}"
        f" WHERE embedding MATCH ? AND k = ?{where}) SELECT c.id, c.document_id, v.distance"
        " FROM v JOIN chunks c ON c.id = v.id ORDER BY v.distance, c.id",
        (blob, DEPTH, *bindings),
    )
    # For unit vectors |a - b|^2 = 2 - 2 cos.
    return [Scored(c, d, 1.0 - distance * distance / 2.0) for c, d, distance in rows]


def _rows(store: Store, table: str) -> int:
    # The shadow table of row ids: its count is the cheapest exact one.
    return int(store.db.value(f"SELECT count(*) FROM {table}_rowids"))


def _rescored(store: Store, chunk_ids: Sequence[int], vector: FloatArray) -> list[Scored]:
    if not chunk_ids:
        return []
    marks = ",".join(map(str, chunk_ids))
    rows = store.db.rows(f"SELECT id, document_id, vector FROM chunks WHERE id IN ({marks})")
    matrix = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f4")
    scores = matrix.reshape(len(rows), -1) @ vector
    order = np.argsort(-scores, kind="stable")[:DEPTH]
    return [Scored(rows[i][0], rows[i][1], float(scores[i])) for i in order]


def fuse(
    keyword: Sequence[Scored], semantic: Sequence[Scored], settings: SearchSettings
) -> list[Ranked]:
    """Fuse two arms by weighted reciprocal ranks, best first.

    A document counts by its best chunk in each arm: the arms seldom choose the same passage of
    the document that both mean, and its passages are then ordered among themselves.
    """
    ranked: dict[int, Ranked] = {}
    documents: dict[int, float] = {}
    arms = ((keyword, settings.keyword_weight, True), (semantic, settings.semantic_weight, False))
    for hits, weight, is_keyword in arms:
        place: dict[int, int] = {}
        for rank, hit in enumerate(hits, 1):
            entry = ranked.setdefault(hit.chunk_id, Ranked(hit.chunk_id, hit.document_id))
            entry.score += weight / (settings.rrf_k + rank)
            if is_keyword:
                entry.keyword_rank, entry.keyword_score = rank, hit.score
            else:
                entry.semantic_rank, entry.semantic_score = rank, hit.score
            if hit.document_id not in place:
                place[hit.document_id] = len(place) + 1
                share = weight / (settings.rrf_k + place[hit.document_id])
                documents[hit.document_id] = documents.get(hit.document_id, 0.0) + share
    best: dict[int, float] = {}
    for entry in ranked.values():
        best[entry.document_id] = max(best.get(entry.document_id, 0.0), entry.score)
    for entry in ranked.values():
        # The document's score, less for its passages after the first.
        share = entry.score / best[entry.document_id]
        entry.score = documents[entry.document_id] * share
    return sorted(ranked.values(), key=lambda e: (-e.score, e.chunk_id))


def at_most_two(ranked: Sequence[Ranked], limit: int) -> list[Ranked]:
    """Take the best, at most two of a document, so that one long file cannot fill the page."""
    taken: list[Ranked] = []
    count: dict[int, int] = {}
    for entry in ranked:
        count[entry.document_id] = count.get(entry.document_id, 0) + 1
        if count[entry.document_id] <= CHUNKS_PER_DOCUMENT:
            taken.append(entry)
        if len(taken) == limit:
            break
    return taken
