"""Answers one query from one connection; refuses to embed."""

from __future__ import annotations

from collections.abc import Sequence

from stackctl.contracts.search import Citation, SearchHit, SearchRequest
from stackctl.settings import SearchSettings
from stackctl_daemon.search.query import keyword_query
from stackctl_daemon.search.ranking import (
    Ranked,
    at_most_two,
    document_filter,
    fuse,
    keyword_arm,
    semantic_arm,
)
from stackctl_daemon.search.snippets import snippet
from stackctl_daemon.search.store import FloatArray, Store


def answer(
    store: Store, request: SearchRequest, vector: FloatArray | None, settings: SearchSettings
) -> list[SearchHit]:
    """Give the hits of a request; ``vector`` is the query's, ``(dims,)`` float32, or None."""
    found = store.collection(request.collection)
    keep = document_filter(request.path, request.type)
    query = keyword_query(request.query)
    keyword = keyword_arm(store, found, query, keep) if request.mode != "semantic" else []
    semantic = semantic_arm(store, found, vector, keep) if vector is not None else []
    best = at_most_two(fuse(keyword, semantic, settings), request.limit)
    return _hits(store, best, query.words)


def _hits(store: Store, ranked: Sequence[Ranked], words: Sequence[str]) -> list[SearchHit]:
    marks = ",".join(str(entry.chunk_id) for entry in ranked)
    rows = store.db.rows(
        "SELECT c.id, c.text, c.heading, c.page, c.line_start, c.line_end, d.path, d.title, d.type"
        f" FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.id IN ({marks})"
    )
    places = {row[0]: row[1:] for row in rows}
    hits = []
    # A chunk that a writer replaced since the ranking is left out.
    for rank, entry in enumerate((e for e in ranked if e.chunk_id in places), 1):
        text, heading, page, line_start, line_end, path, title, type_ = places[entry.chunk_id]
        cut = snippet(text, words)
        hits.append(
            SearchHit(
                rank=rank,
                score=entry.score,
                citation=Citation(
                    path=path,
                    heading=heading,
                    page=page,
                    line_start=line_start,
                    line_end=line_end,
                ),
                title=title,
                type=type_,
                snippet=cut.text,
                highlights=cut.highlights,
                keyword_rank=entry.keyword_rank,
                semantic_rank=entry.semantic_rank,
                keyword_score=entry.keyword_score,
                semantic_score=entry.semantic_score,
            )
        )
    return hits
