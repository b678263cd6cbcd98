"""What goes to a worker at once; refuses to choose the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stackctl.errors import WorkerCrashed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import MAX_DEATHS

_MAX_WEDGES = 2
"""Each keeps a device silent for the whole of its patience. The first may be nobody's fault, of
a machine that slept, or another request's; after it, a request is alone with its worker."""


@dataclass(slots=True, eq=False)
class Piece:
    """Inputs that go to one worker together."""

    load: wire.Load
    fields: dict[str, Any]
    """Fields of `wire.Run` that describe the inputs; see `bodies.pack_inputs`."""
    body: bytes
    count: int
    priority: wire.Priority
    weight: int
    """Bytes: what the device is loaded with."""
    answer: asyncio.Future[tuple[wire.Answer, bytes]]
    options: dict[str, Any] = field(default_factory=dict)
    deadline: float = 0.0
    user: int = -1
    on_part: Callable[[wire.Part], None] | None = None
    """Takes the pieces of a streamed answer; None: it is not streamed."""
    parts: int = 0
    id: int = 0
    deaths: int = 0
    """Workers that died with it in hand."""
    wedges: int = 0
    """Of them, those that were killed because they were silent."""
    issued: bool = False


class Pieces:
    """What a worker was given and has not answered; each step costs the same however many."""

    def __init__(self) -> None:
        self._all: dict[int, Piece] = {}
        self._waiting: dict[int, Piece] = {}
        self._suspects: dict[int, Piece] = {}
        self.weight = 0
        """Bytes of all."""
        self.inputs = 0
        """Inputs of all."""

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Piece]:
        return iter(list(self._all.values()))

    def get(self, number: int) -> Piece | None:
        """Give a piece by its id; None where it is gone."""
        return self._all.get(number)

    def add(self, piece: Piece) -> None:
        """Take one that is not issued."""
        self._all[piece.id] = self._waiting[piece.id] = piece
        self.weight += piece.weight
        self.inputs += piece.count

    def pop(self, number: int) -> Piece | None:
        """Forget a piece; None where it is gone."""
        piece = self._all.pop(number, None)
        if piece is not None:
            self._waiting.pop(number, None)
            self._suspects.pop(number, None)
            self.weight -= piece.weight
            self.inputs -= piece.count
        return piece

    def died(self, device: str, reason: str, silent_s: float) -> list[tuple[Piece, WorkerCrashed]]:
        """Have what was issued wait again; give what is not begun anew, which is gone, and why.

        Args:
            device: whose worker died.
            reason: how.
            silent_s: for how long it had given no sign of life, where it was killed for it.
        """
        given_up = []
        for piece in self:
            if not piece.issued:
                continue
            self._back(piece)
            piece.wedges += bool(silent_s)
            # What was streamed cannot be taken back, so it is not begun anew.
            if piece.deaths >= MAX_DEATHS or piece.wedges >= _MAX_WEDGES or piece.parts:
                self.pop(piece.id)
                given_up.append((piece, _crashed(piece, device, reason, silent_s)))
        return given_up

    def _back(self, piece: Piece) -> None:
        piece.issued = False
        piece.deaths += 1
        self._waiting[piece.id] = self._suspects[piece.id] = piece

    def due(self) -> list[Piece]:
        """Give what may be issued now, as issued: suspects alone, everything else at once."""
        if not self._waiting:
            return []
        if not self._suspects:
            found = list(self._waiting.values())
        elif len(self._waiting) < len(self._all):
            return []
        else:
            found = [min(self._suspects.values(), key=lambda piece: (piece.deaths, piece.id))]
        for piece in found:
            piece.issued = True
            del self._waiting[piece.id]
        return found


def _crashed(piece: Piece, device: str, reason: str, silent_s: float) -> WorkerCrashed:
    how = f"killed after {silent_s:.0f} s without a sign of life" if silent_s else f"by {reason}"
    error = WorkerCrashed(
        f"{piece.deaths} workers of {device} died on a request of {piece.count} inputs, the last"
        f" {how}",
        hint="stackctl doctor",
    )
    if piece.count == 1:
        error.text = next(iter(piece.fields.get("texts", ())), "")
    return error
