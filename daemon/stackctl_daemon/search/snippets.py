"""Cuts the telling part out of a chunk and marks the words of the query; refuses markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

SNIPPET_CHARS = 240
_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ies", "ed", "es", "ly", "s", "e", "y")


class Snippet(NamedTuple):
    """Text and the half-open spans in it that match the query."""

    text: str
    highlights: list[tuple[int, int]]


def snippet(text: str, words: Sequence[str], *, length: int = SNIPPET_CHARS) -> Snippet:
    """Give the window of the text with the most different words of the query."""
    flat = " ".join(text.split())
    stems = {_stem(word) for word in words}
    matches = [
        (found.start(), found.end(), _stem(found[0].lower()))
        for found in _WORD.finditer(flat)
        if _stem(found[0].lower()) in stems
    ]
    start = _best_start(matches, length) if len(flat) > length else 0
    start = _word_start(flat, start)
    end = len(flat) if len(flat) - start <= length else flat.rfind(" ", start, start + length)
    end = end if end > start else min(start + length, len(flat))
    head, tail = ("… " if start else ""), (" …" if end < len(flat) else "")
    shift = len(head) - start
    spans = [(a + shift, b + shift) for a, b, _ in matches if start <= a and b <= end]
    return Snippet(head + flat[start:end] + tail, spans)


def _best_start(matches: Sequence[tuple[int, int, str]], length: int) -> int:
    best, best_score = 0, (0, 0)
    for start, _, _ in matches:
        inside = [stem for a, b, stem in matches if a >= start and b <= start + length - 40]
        score = (len(set(inside)), len(inside))
        if score > best_score:
            best, best_score = max(0, start - 40), score
    return best


def _word_start(text: str, start: int) -> int:
    if start <= 0:
        return 0
    space = text.find(" ", start)
    return space + 1 if 0 <= space < start + 40 else start


def _stem(word: str) -> str:
    """Cut common English endings: near enough to porter to mark what it matched."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
