"""Turns a person's words into an FTS5 query; refuses to let any text be syntax.

Every term goes out as a quoted string, so that no character of the input means anything to FTS5.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The 33 of Lucene's English analyser and the question words of people who ask in sentences.
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "when",
        "where",
        "why",
        "how",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "would",
        "may",
        "might",
        "must",
        "has",
        "have",
        "had",
        "been",
        "being",
        "were",
        "am",
        "i",
        "you",
        "we",
        "he",
        "she",
        "me",
        "my",
        "your",
        "our",
        "its",
        "from",
        "about",
        "than",
        "so",
        "any",
        "some",
        "all",
        "there",
    ]
)
MAX_TERMS = 64
_TERM = re.compile(r'"([^"]+)"|([^\W_]+(?:[_\'\u2019][^\W_]+)*)')
_WORD = re.compile(r"[^\W_]+")


class KeywordQuery(NamedTuple):
    """A query for FTS5 in its two forms; both are empty when no word is left."""

    every: str
    """Matches what holds all terms."""
    some: str
    """Matches what holds any term."""
    words: tuple[str, ...]
    """The words searched for, lower case, for highlights."""


def keyword_query(text: str) -> KeywordQuery:
    """Build the query; stop words fall away unless nothing else is left or quotes hold them."""
    phrases: list[tuple[list[str], bool]] = []
    for found in _TERM.finditer(text):
        words = _WORD.findall((found[1] or found[2]).lower())
        if words and (words, bool(found[1])) not in phrases:
            phrases.append((words, bool(found[1])))
    kept = [p for p in phrases if p[1] or len(p[0]) > 1 or p[0][0] not in STOP_WORDS] or phrases
    kept = kept[:MAX_TERMS]
    terms = ['"' + " ".join(words) + '"' for words, _ in kept]
    quoted = [t for t, (_, is_phrase) in zip(terms, kept, strict=True) if is_phrase]
    plain = [t for t, (_, is_phrase) in zip(terms, kept, strict=True) if not is_phrase]
    # A phrase in quotes is a demand, also where the words beside it are missing.
    some = " AND ".join(quoted) if quoted else " OR ".join(plain)
    return KeywordQuery(
        " AND ".join(terms), some, tuple(dict.fromkeys(w for words, _ in kept for w in words))
    )
