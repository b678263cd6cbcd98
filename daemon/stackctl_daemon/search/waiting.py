"""Documents between their reading and their embedding; refuses to hold more than so much text."""

from __future__ import annotations

import asyncio

from stackctl_daemon.search.preparing import Prepared
from stackctl_daemon.search.store import FloatArray

WAITING_DOCUMENTS = 32
WAITING_CHARS = 16 << 20
"""Reading is faster than embedding, and a document may hold 128 MiB of text: until either is
reached, or for one document that is larger by itself."""


class Waiting:
    """A prepared document, and the vectors of its chunks as they arrive."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.vectors: list[FloatArray] = []
        self.missing = len(prepared.chunks)
        self.chars = sum(len(piece.text) for piece in prepared.chunks)
        self.problem = ""


class DocumentQueue(asyncio.Queue[Waiting | None]):
    """Full at so many documents or so much text; the queue's own hooks, as in PriorityQueue."""

    def __init__(self) -> None:
        super().__init__(WAITING_DOCUMENTS)

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._chars = 0

    def full(self) -> bool:
        """Say whether the next document has to wait."""
        return super().full() or self._chars >= WAITING_CHARS

    def _put(self, item: Waiting | None) -> None:
        super()._put(item)
        self._chars += item.chars if item else 0

    def _get(self) -> Waiting | None:
        item = super()._get()
        self._chars -= item.chars if item else 0
        return item
