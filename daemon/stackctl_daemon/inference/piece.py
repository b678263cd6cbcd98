"""What goes to a worker at once; refuses to choose the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
