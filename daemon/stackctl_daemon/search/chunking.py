"""Cuts a document into passages of about equal size; refuses to cross a page or a heading.

A token counts as four characters of Latin text and as one of Chinese, Japanese or Korean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from stackctl_daemon.search.extract import Block, Extracted

CHARS_PER_TOKEN = 4
HEADING_CHARS = 400
"""Every chunk below a heading repeats it, and a hostile one may be as long as the file."""
_WIDE = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")


class Chunk(msgspec.Struct, array_like=True, frozen=True):
    """One passage, as it is stored, embedded and cited."""

    text: str
    heading: str
    page: int | None
    line_start: int | None
    line_end: int | None


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    number: int | None
    width: int


def chunk(document: Extracted, *, chunk_tokens: int) -> list[Chunk]:
    """Cut a document into chunks of at most about ``chunk_tokens`` tokens.

    Neighbours below one heading share up to an eighth, so that a sentence at a cut is found.
    """
    budget = max(chunk_tokens, 8) * CHARS_PER_TOKEN
    chunks: list[Chunk] = []
    for block in _merged(document.blocks, budget):
        chunks += _cut(block, budget)
    return chunks


def embedded_text(title: str, piece: Chunk) -> str:
    """Give what the model reads: the title and heading say what a passage is about."""
    head = piece.heading
    if title and not head.startswith(title) and not piece.text.lstrip().startswith(title):
        head = f"{title} > {head}" if head else title
    if head and _flat(piece.text).startswith(_flat(head)):
        head = ""
    return f"{head}\n{piece.text}" if head else piece.text


def _flat(text: str) -> str:
    return " ".join(text[:500].split())


def width(text: str) -> int:
    """Give the size of a text in characters of Latin script."""
    return len(text) if text.isascii() else len(text) + 3 * len(_WIDE.findall(text))


def _merged(blocks: Sequence[Block], budget: int) -> Iterator[Block]:
    """Join small neighbours that allow it, naming the headings of all."""
    held: Block | None = None
    for block in blocks:
        if (
            held is not None
            and held.mergeable
            and block.mergeable
            and held.page == block.page
            and width(held.text) + width(block.text) < budget
        ):
            names = [name for name in (held.heading, block.heading) if name]
            held = Block(
                f"{held.text}\n{block.text}", ", ".join(names), held.page, held.line_start, True
            )
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _cut(block: Block, budget: int) -> Iterator[Chunk]:
    lines = list(_lines(block, budget))
    start = 0
    while start < len(lines):
        end, used = start, 0
        while end < len(lines) and (end == start or used + lines[end].width <= budget):
            used += lines[end].width + 1
            end += 1
        if end < len(lines):
            end = _better_end(lines, start, end)
        piece = _piece(block, lines[start:end])
        if piece is not None:
            yield piece
        if end >= len(lines):
            return
        start = _overlap_start(lines, start, end, budget // 8)


def _better_end(lines: Sequence[_Line], start: int, end: int) -> int:
    """Move a cut back to the last blank line, if that keeps at least half."""
    for candidate in range(end, start + (end - start) // 2, -1):
        if not lines[candidate - 1].text.strip():
            return candidate
    return end


def _overlap_start(lines: Sequence[_Line], start: int, end: int, overlap: int) -> int:
    again, shared = end, 0
    while again - 1 > start and shared + lines[again - 1].width <= overlap:
        if not lines[again - 1].text.strip():
            break
        again -= 1
        shared += lines[again].width + 1
    return again


def _piece(block: Block, lines: Sequence[_Line]) -> Chunk | None:
    filled = [line for line in lines if line.text.strip()]
    if not filled:
        return None
    first, last = lines.index(filled[0]), len(lines) - 1 - lines[::-1].index(filled[-1])
    text = "\n".join(line.text for line in lines[first : last + 1])
    return Chunk(
        text, block.heading[:HEADING_CHARS], block.page, filled[0].number, filled[-1].number
    )


def _lines(block: Block, budget: int) -> Iterator[_Line]:
    """Give the block's lines; one longer than a chunk is cut at sentences, then at words."""
    for offset, text in enumerate(block.text.split("\n")):
        number = None if block.line_start is None else block.line_start + offset
        size = width(text)
        if size <= budget // 2:
            yield _Line(text, number, size)
            continue
        for sentence in _SENTENCE.split(text):
            for part in _words(sentence, budget // 2):
                yield _Line(part, number, width(part))


def _words(text: str, limit: int) -> Iterator[str]:
    at = 0
    while at < len(text):
        # Only as far ahead as a part can reach: the whole rest each time would be quadratic.
        ahead = text[at : at + limit + 1]
        if width(ahead) <= limit:
            yield ahead
            return
        cut = limit if ahead.isascii() else max(limit // 4, 1)
        space = ahead.rfind(" ", cut // 2, cut)
        cut = space if space > 0 else cut
        yield ahead[:cut]
        at += cut
        while at < len(text) and text[at].isspace():
            at += 1
