"""What a worker keeps of models and requests; refuses to run anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Adapter, ModelSpec, Unit
from stackctl_daemon.inference.batching import Item, LengthQueue

PRIORITIES: tuple[wire.Priority, ...] = ("interactive", "batch")


@dataclass(slots=True, eq=False)
class Pending:
    """A request that is not answered yet."""

    command: wire.Run
    model: Model
    results: Any
    """Rows of float32, or a list of results."""
    left: int
    tokens: int
    truncated: int
    arrived: float
    started: float | None = None
    compute_s: float = 0.0


@dataclass(slots=True, eq=False)
class Model:
    """A model that is open, or why it is not."""

    load: wire.Load
    adapter: Adapter | None
    fault: wire.LoadFailed | None = None
    queues: dict[str, LengthQueue[Pending]] = field(init=False)
    streams: int = 0
    loaded: wire.Loaded | None = None
    budget: int = 0
    """As calibrated; 0: the adapter's own."""
    sample: Unit | None = None
    """The last input made ready: what a kind that reads no text is calibrated with."""

    def __post_init__(self) -> None:
        self.queues = {name: LengthQueue(packed=self.packed) for name in PRIORITIES}

    @property
    def packed(self) -> bool:
        """Its graph leaves padding out."""
        return self.adapter is not None and self.adapter.packed

    @property
    def idle(self) -> bool:
        """Nobody waits for it."""
        return not self.streams and not any(map(len, self.queues.values()))


@dataclass(slots=True, eq=False)
class Stream:
    """An answer that is given in pieces."""

    request: Pending
    pieces: Iterator[Any]
    item: Item[Pending]


def spec_of(command: wire.Load) -> ModelSpec:
    """Give what an adapter is told of the model that it opens."""
    return ModelSpec(
        name=command.name,
        directory=Path(command.directory),
        graph=Path(command.graph) if command.graph else None,
        tokenizer=Path(command.tokenizer) if command.tokenizer else None,
        max_tokens=command.max_tokens,
        dimensions=command.dimensions,
        options=command.options,
    )
