"""What a worker keeps of models and requests; refuses to run anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Adapter, ModelSpec, Unit
from stackctl_daemon.inference.batching import Item, LengthQueue
from stackctl_daemon.inference.pacing import Pacer
from stackctl_daemon.inference.turns import Line

PRIORITIES: tuple[wire.Priority, ...] = ("interactive", "batch")


@dataclass(slots=True, eq=False)
class Pending:
    """A request that is not answered yet."""

    command: wire.Run
    model: Model
    arrived: float
    results: Any = None
    """Rows of float32, or a list of results; None before its inputs are ready."""
    left: int = 0
    tokens: int = 0
    truncated: int = 0
    started: float | None = None
    compute_s: float = 0.0
    cost: int = 0
    """Of its inputs, where the model has a target of latency."""


@dataclass(slots=True, eq=False)
class Model:
    """A model that is open, or why it is not."""

    load: wire.Load
    adapter: Adapter | None
    fault: wire.LoadFailed | None = None
    queues: dict[str, LengthQueue[Pending]] = field(init=False)
    steps: dict[str, deque[Stream]] = field(
        default_factory=lambda: {name: deque() for name in PRIORITIES}
    )
    """Streams that are open, the next one first."""
    streams: int = 0
    running: int = 0
    """Batches and steps that are computed now, by other threads."""
    preparing: int = 0
    """Requests whose inputs are being made ready."""
    loaded: wire.Loaded | None = None
    budget: int = 0
    """As calibrated; 0: the adapter's own."""
    sample: Unit | None = None
    """The last input made ready: what a kind that reads no text is calibrated with."""
    pacer: Pacer | None = None
    """Where it has a target of latency."""

    def __post_init__(self) -> None:
        self.queues = {name: LengthQueue(packed=self.packed) for name in PRIORITIES}

    @property
    def packed(self) -> bool:
        """Its graph leaves padding out."""
        return self.adapter is not None and self.adapter.packed

    @property
    def idle(self) -> bool:
        """Nobody waits for it."""
        return not (self.preparing or self.due)

    @property
    def due(self) -> bool:
        """Something of it can be computed, or is."""
        return bool(self.streams or self.running or any(map(len, self.queues.values())))

    @property
    def free(self) -> bool:
        """One more batch of it may run."""
        return self.running < self.load.replicas

    def full(self, batch_tokens: int) -> int:
        """Give the padded cost of a batch that is best for throughput."""
        own = self.adapter.budget(batch_tokens) if self.adapter else 0
        return self.budget or own

    def pace(self, batch_tokens: int) -> None:
        """Follow the target of latency, or none."""
        target_s = self.load.latency_target_s
        if not target_s:
            self.pacer = None
        elif self.pacer is None or self.pacer.target_s != target_s:
            self.pacer = Pacer(target_s, self.full(batch_tokens))


@dataclass(slots=True, eq=False)
class Stream:
    """An answer that is given in pieces."""

    request: Pending
    pieces: Iterator[Any]
    item: Item[Pending]
    compute_s: float = 0.0


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


def waiting(models: Mapping[str, Model]) -> dict[Line, int]:
    """Give who waits for a turn, and since which arrival."""
    found = {}
    for key, model in models.items():
        for priority in PRIORITIES:
            if queue := model.queues[priority]:
                found[Line(priority, key)] = queue.oldest
            if steps := model.steps[priority]:
                found[Line(priority, key, streams=True)] = steps[0].item.number
    return found
