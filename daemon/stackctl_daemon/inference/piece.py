"""What goes to a worker at once; refuses to choose the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stackctl_daemon.inference import protocol as wire


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

    def back(self, piece: Piece) -> None:
        """Have one that was issued wait again: the worker that had it died."""
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
