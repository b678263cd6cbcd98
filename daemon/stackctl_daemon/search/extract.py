"""Gives the text of plain files in blocks that keep heading and line; refuses binary formats.

Called in the extractor process alone, as is every parser: see `formats`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from stackctl_daemon.search.filetype import DocumentType, decode

TITLE_CHARS = 200


class Block(msgspec.Struct, frozen=True):
    """A passage below one heading of one page."""

    text: str
    heading: str = ""
    page: int | None = None
    line_start: int | None = None
    mergeable: bool = False
    """May share a chunk with its neighbours when they are small."""


class Extracted(msgspec.Struct, frozen=True):
    """A document's text."""

    title: str
    blocks: list[Block]
    note: str = ""
    """Such as the encoding, when it was not UTF-8."""


_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)$")
_HEAD_CHARS = 400
"""Patterns look at this much of a line: a hostile one may hold the whole file."""
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_BOUNDARY = re.compile(
    r"(?:@\w|(?:export |default |public |private |protected |static |abstract |final "
    r"|pub(?:\([^)]*\))? |async |unsafe |extern |inline )*(?:def|class|func|function|fn|struct"
    r"|enum|trait|impl|interface|module|namespace|type|record|object|sub|CREATE)\b"
    r"|[\w.-]+\(\)\s*\{|\[[\w.\"-]+\])"
)
_SYMBOL = re.compile(
    r"\b(?:def|class|func|function|fn|struct|enum|trait|impl|interface|module|namespace|type"
    r"|record|object|sub)\s+(?:\([^)]*\)\s*)?([A-Za-z_]\w*(?:(?:\.|::)\w+)*)"
)


def extract_plain(data: bytes, type_: DocumentType, name: str) -> Extracted:
    """Give the text of a ``text``, ``markdown`` or ``code`` file named ``name``."""
    text, note = decode(data)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ").split("\n")
    if type_ == "markdown":
        title, blocks = _markdown(lines)
    elif type_ == "code":
        title, blocks = "", _code(lines)
    else:
        title, blocks = _text_title(lines), [Block("\n".join(lines), line_start=1)]
    return Extracted(title[:TITLE_CHARS] or name, blocks, note)


def _text_title(lines: Sequence[str]) -> str:
    """Take the first paragraph as the title when it is short and stands by itself."""
    first: list[str] = []
    for line in lines[:6]:
        if line.strip():
            first.append(line.strip())
        elif first:
            title = " ".join(first)
            return title if len(title) <= TITLE_CHARS else ""
    return ""


def _heading_text(rest: str) -> str:
    """Take the closing ``#`` of an ATX heading off: those after a blank, or all there is."""
    text = rest.strip()
    without = text.rstrip("#")
    return without.rstrip() if not without or without[-1] in " \t" else text


def _markdown(lines: Sequence[str]) -> tuple[str, list[Block]]:
    title = ""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    start, fence = 1, ""
    body: list[str] = []
    first = 0
    if lines and lines[0].strip() == "---":
        # YAML front matter: its title names the document, the rest is not prose.
        end = next((i for i, line in enumerate(lines[1:200], 1) if line.strip() == "---"), 0)
        first = end + 1 if end else 0
        named = (
            re.match(r"title:\s*[\"']?(.+?)[\"']?\s*$", line[:_HEAD_CHARS])
            for line in lines[1:end]
        )
        title = next((found[1] for found in named if found), "")
        start = first + 1

    def close(next_level: int) -> None:
        filled = sum(bool(line.strip()) for line in body)
        # A heading with nothing but deeper headings below it is named by them.
        if filled > 1 or (filled and not (path and next_level > path[-1][0])):
            heading = " > ".join(name for _, name in path)
            blocks.append(Block("\n".join(body), heading, None, start))

    for number, line in enumerate(lines[first:], first + 1):
        mark = _FENCE.match(line[:_HEAD_CHARS])
        if mark and (not fence or line.strip().startswith(fence)):
            fence = "" if fence else mark[1]
        found = None if fence else _HEADING.match(line)
        if found:
            close(len(found[1]))
            level, name = len(found[1]), _heading_text(found[2])
            path = [item for item in path if item[0] < level]
            path.append((level, name))
            title = title or name[:TITLE_CHARS]
            body, start = [], number
        body.append(line)
    close(0)
    return title, blocks


def _code(lines: Sequence[str]) -> list[Block]:
    """Split at top-level definitions; a decorator belongs to what it decorates."""
    blocks: list[Block] = []
    start = 0
    for number, line in enumerate([*lines, "def "]):
        at_end = number == len(lines)
        if number == start or not (at_end or _BOUNDARY.match(line[:_HEAD_CHARS])):
            continue
        if not at_end and lines[number - 1].startswith("@"):
            continue
        body = lines[start:number]
        if any(part.strip() for part in body):
            blocks.append(Block("\n".join(body), _symbol(body), None, start + 1, mergeable=True))
        start = number
    return blocks


def _symbol(lines: Sequence[str]) -> str:
    for line in lines[:8]:
        if line[:1].isspace() or line.startswith(("#", "//", "*")):
            continue
        found = _SYMBOL.search(line[:_HEAD_CHARS])
        if found:
            return found[1]
    return ""
