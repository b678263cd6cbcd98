"""Search: collections, indexing and hybrid queries."""

from __future__ import annotations

from typing import Literal

import msgspec

SearchMode = Literal["hybrid", "keyword", "semantic"]


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Index files or folders into a collection."""

    paths: list[str]
    """Absolute paths; a ``file:`` URI (RFC 8089) for a name that is not UTF-8."""
    collection: str = "default"
    watch: bool | None = None
    """Keep following changes after the job, across restarts of the daemon; False ends that,
    None leaves it as it was."""
    force: bool = False
    """Read again what looks unchanged."""


class RemoveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Forget what a collection holds of paths; files stay where they are."""

    paths: list[str]
    """As those of an `IndexRequest`, or as a hit shows them; they need not exist."""
    collection: str = "default"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A path that a collection was fed from."""

    path: str
    """Bytes that are not UTF-8 appear as ``\\xNN``."""
    watched: bool


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of documents with one embedding model."""

    name: str
    model: str
    documents: int
    chunks: int
    sources: list[Source]
    updated_at: str | None = None


class CollectionList(msgspec.Struct, frozen=True, kw_only=True):
    """Collections, by name."""

    items: list[Collection]


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask a collection."""

    query: str
    collection: str = "default"
    mode: SearchMode = "hybrid"
    limit: int = 10
    """1 to 100."""
    path: str = ""
    """Keep what lies under this path, or matches this glob (``*.md``), as hits show paths."""
    type: str = ""
    """Keep one type: text, markdown, code, html, pdf, docx."""


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a hit stands in its file."""

    path: str
    heading: str = ""
    """Headings from the outermost in, joined by `` > ``."""
    page: int | None = None
    line_start: int | None = None
    line_end: int | None = None


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """One ranked passage."""

    rank: int
    score: float
    citation: Citation
    title: str
    type: str
    snippet: str
    highlights: list[tuple[int, int]]
    """Half-open character spans of ``snippet`` that match words of the query."""
    keyword_rank: int | None = None
    semantic_rank: int | None = None
    keyword_score: float | None = None
    """BM25, larger is better."""
    semantic_score: float | None = None
    """Cosine, -1 to 1."""


class SearchReply(msgspec.Struct, frozen=True, kw_only=True):
    """Hits, best first."""

    query: str
    collection: str
    mode: SearchMode
    hits: list[SearchHit]
    elapsed_s: float
