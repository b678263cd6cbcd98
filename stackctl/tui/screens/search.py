"""Search: ask a collection; refuses to index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from stackctl.cli.table import Column
from stackctl.cli.text import clean, duration, short_path
from stackctl.client import Client
from stackctl.tui.frame import Frame
from stackctl.tui.messages import Slot
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.widgets.panel import Panel, Space
from stackctl.tui.words import styled

MODES = ["hybrid", "keyword", "semantic"]
MOST_HITS = 20
HITS = [
    Column("#", lambda hit: hit.rank, right=True),
    Column("SCORE", lambda hit: f"{hit.score:.3f}", right=True),
    Column("WHERE", lambda hit: place(hit.citation), shrink=True),
    Column("TITLE", lambda hit: hit.title, shrink=True, optional=True),
]


class SearchPage(Page):
    """A question, its hits, and the selected passage."""

    NAME = "search"

    def __init__(self) -> None:
        super().__init__()
        self._question, self._mode, self._collection = "", MODES[0], "default"

    def needs(self) -> Sequence[Need]:
        """The collections; the hits are asked for once a question."""
        return [
            Need("collections", lambda client, frame: client.search.collections()),
            *self._hits(),
        ]

    def body(self) -> Iterable[Widget]:
        """The question, the hits, the passage."""
        entry = Input(placeholder="/ to write a question, Enter to ask it")
        entry.border_title = self._title()
        yield entry
        yield Listing(
            "Hits",
            "hits",
            HITS,
            key=lambda hit: place(hit.citation),
            empty="nothing was found; m changes the mode",
        )
        yield Panel(
            "Collections",
            "collections",
            self._passage,
            id="passage",
            empty="no collections yet: stackctl index PATH makes one",
        )

    def on_mount(self) -> None:
        """Say what to do before a question was asked."""
        self.query_one(Listing).display = False

    def action_ask(self) -> None:
        """Write a question."""
        self.query_one(Input).focus()

    def action_mode(self) -> None:
        """Take the next mode."""
        self._mode = MODES[(MODES.index(self._mode) + 1) % len(MODES)]
        self._anew()

    def action_collection(self) -> None:
        """Take the next collection."""
        names = [found.name for found in getattr(self.value("collections"), "items", [])]
        if names:
            at = names.index(self._collection) if self._collection in names else -1
            self._collection = names[(at + 1) % len(names)]
        self._anew()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask."""
        self._question = event.value.strip()
        self.query_one(Listing).focus_rows()
        self._anew()

    def on_listing_selected(self, event: Listing.Selected) -> None:
        """Show the passage under the cursor."""
        del event
        self.query_one("#passage", Panel).redraw()

    def renew(self) -> None:
        """Ask again."""
        self.forget("hits")

    def reframe(self) -> None:
        """Keep the hits: a collection has no past."""

    def _title(self) -> str:
        return f"Ask {clean(self._collection)} ({self._mode})"

    def _anew(self) -> None:
        self.query_one(Input).border_title = self._title()
        self.query_one(Listing).display = bool(self._question)
        self.query_one("#passage", Panel).border_title = (
            "Passage" if self._question else "Collections"
        )
        self.forget("hits")
        self.board.ask_now()

    def _hits(self) -> Iterator[Need]:
        question, mode, collection = self._question, self._mode, self._collection
        slot = self.slots.get("hits", Slot())
        if not question or slot.at or slot.error:
            return  # A question is asked once, not once a round.

        def ask(client: Client, frame: Frame) -> Any:
            del frame
            found: Any = client.search.query(
                question, collection=collection, mode=mode, limit=MOST_HITS
            )
            found.items = found.hits
            return found

        yield Need("hits", ask)

    def _passage(self, found: Any, space: Space) -> list[str | Content]:
        hit = self.query_one(Listing).selected
        if not self._question:
            return [
                f"{c.name:<20} {c.documents} documents, {c.chunks} passages, {c.model}"
                for c in found.items
            ]
        if hit is None:
            return [styled("no passage is selected", "$text-muted")]
        reply = self.value("hits")
        asked = f"{len(reply.hits)} hits in {duration(reply.elapsed_s)}"
        ranks = f"keyword rank {hit.keyword_rank or '-'}, semantic {hit.semantic_rank or '-'}"
        head = styled(f"{place(hit.citation)}  ({ranks}; {asked})", "bold")
        return [head, *_highlighted(hit, space.width)]


def place(citation: Any) -> str:
    """Give where a hit stands: path, page or lines."""
    at = ""
    if citation.page is not None:
        at = f" p. {citation.page}"
    elif citation.line_start is not None:
        at = f":{citation.line_start}"
    return f"{short_path(clean(citation.path))}{at}"


def _highlighted(hit: Any, width: int) -> list[str | Content]:
    """Give the snippet in lines, its matches underlined."""
    text = Content(clean(hit.snippet))  # a character for each, so that matches stay in place
    for start, end in hit.highlights:
        text = text.stylize("bold underline", start, end)
    return [*text.wrap(width)] if width > 0 else []
