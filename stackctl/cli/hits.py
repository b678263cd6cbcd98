"""Prints search hits: rank, citation, highlighted snippet."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stackctl.cli.output import Output
from stackctl.cli.table import SMALLEST, Column
from stackctl.cli.text import clean, cut, display_width, duration, short_path

if TYPE_CHECKING:
    from stackctl.contracts.search import Citation, SearchHit, SearchReply

SNIPPET_LINES = 4
MARKS = ("\ue000", "\ue001")
"""Private-use characters that stand for the ends of a highlight while lines are wrapped."""

COLUMNS = [
    Column("RANK", lambda h: h.rank),
    Column("SCORE", lambda h: f"{h.score:.6f}"),
    Column("CITATION", lambda h: cite(h.citation, whole=True)),
    Column("HEADING", lambda h: h.citation.heading),
    Column("SNIPPET", lambda h: h.snippet),
]


def show(output: Output, reply: SearchReply) -> None:
    """Print a reply in the output's mode; quiet prints the citations."""
    if output.mode == "plain":
        output.items(reply.hits, COLUMNS, empty="")
        return
    output.show(
        reply,
        lambda r: lines(output, r),
        quiet=lambda r: [clean(cite(h.citation, whole=True)) for h in r.hits],
    )


def lines(output: Output, reply: SearchReply) -> Iterator[str]:
    """Give hits for people, best first."""
    for hit in reply.hits:
        yield from _hit(output, hit)
        yield ""
    if not reply.hits:
        yield f'nothing in "{reply.collection}" matches'
        return
    count = f"{len(reply.hits)} hit{'s' if len(reply.hits) != 1 else ''}"
    yield output.style(
        f'{count} in "{reply.collection}" ({reply.mode}, {duration(reply.elapsed_s)})', "dim"
    )


def cite(citation: Citation, *, whole: bool = False) -> str:
    """Name the place: ``path:12``, or ``path p.3``; programs need the whole path."""
    path = citation.path if whole else short_path(citation.path)
    if citation.page is not None:
        return f"{path} p.{citation.page}"
    return path if citation.line_start is None else f"{path}:{citation.line_start}"


def _hit(output: Output, hit: SearchHit) -> Iterator[str]:
    rank = output.style(f"{hit.rank:>2}.", "bold")
    place, heading = clean(cite(hit.citation)), clean(hit.citation.heading)
    if output.width is not None:
        # The place stays whole, to be copied; its heading gets what is left of the line.
        left = output.width - display_width(place) - 6
        heading = cut(heading, left) if left >= SMALLEST else ""
    shown = f"  {heading}" if heading else ""
    yield f"{rank} {output.style(place, 'cyan')}{shown}"
    width = min((output.width or 100) - 4, 96)
    # Blanks are folded so that a snippet of code or a PDF's columns stay a few lines.
    text = re.sub(r"\s+", " ", clean(_mark(hit))).strip()
    wrapped = textwrap.wrap(text, width, max_lines=SNIPPET_LINES, placeholder=" …")
    # A highlight may be cut by a line's end: style each line by itself.
    inside = False
    for line in wrapped:
        shown = ("" if not inside else MARKS[0]) + line
        inside = shown.count(MARKS[0]) > shown.count(MARKS[1])
        yield f"    {_styled(output, shown + (MARKS[1] if inside else ''))}"


def _mark(hit: SearchHit) -> str:
    """Put marks around the highlights; overlapping or wrong spans are left out."""
    text = re.sub(f"[{''.join(MARKS)}]", " ", hit.snippet)
    parts, last = [], 0
    for start, end in sorted((s, e) for s, e in hit.highlights):
        if last <= start < end <= len(text):
            parts += [text[last:start], MARKS[0], text[start:end], MARKS[1]]
            last = end
    return "".join([*parts, text[last:]])


def _styled(output: Output, text: str) -> str:
    return re.sub(
        f"{MARKS[0]}([^{MARKS[1]}]*){MARKS[1]}",
        lambda found: output.style(found[1], "bold", "yellow"),
        text,
    )
