"""How a model is asked, and what came of it; refuses to ask.

What the protocols and the service have in common.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stackctl.contracts.model import ModelEntry
from stackctl_daemon.http.spent import Spent
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Input, Result
from stackctl_daemon.inference.limits import Limits
from stackctl_daemon.inference.pool import Outcome, Task
from stackctl_daemon.inference.ports import ReadyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a request, and how it came about."""

    entry: ModelEntry
    results: list[Result] = field(default_factory=list)
    """One an input, in order; empty in `Embedded`."""
    inputs: int
    tokens: int
    truncated: int
    device: str
    """Ids of the devices that took part, joined by commas."""
    execution_provider: str
    queue_s: float
    batch_s: float
    compute_s: float

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.entry.name

    def spent(self, into: Spent | None = None) -> Spent:
        """Give what it took, in a new one or in one that was promised."""
        found = into or Spent()
        found.model, found.device = self.entry.name, self.device
        found.inputs, found.tokens, found.truncated = self.inputs, self.tokens, self.truncated
        found.queue_s, found.batch_s, found.compute_s = self.queue_s, self.batch_s, self.compute_s
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded(Done):
    """Vectors of a request for embeddings."""

    vectors: npt.NDArray[np.float32]
    """``(count, dimensions)``, L2-normalised rows, in the order of the texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How a request is to be treated."""

    priority: wire.Priority = "interactive"
    options: dict[str, Any] = field(default_factory=dict)
    """The adapter's own."""
    timeout_s: float = 0.0
    """After which nobody waits; 0: never."""
    user: int = -1
    """Whose share it takes."""


PLAINLY = Ask()
"""Interactive, for nobody in particular, as long as it takes."""


def load_message(ready: ReadyModel) -> wire.Load:
    """Give the message that loads a model; its key changes when anything of it does."""
    entry = ready.entry
    told = [*(file.sha256 for file in entry.files), entry.adapter]
    told.append(msgspec.json.encode(entry.options, order="sorted").decode())
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()
    return wire.Load(
        key=f"{entry.name}@{digest[:16]}",
        name=entry.name,
        adapter=entry.adapter,
        directory=str(ready.directory),
        graph=str(ready.graph) if ready.graph else "",
        tokenizer=str(ready.tokenizer) if ready.tokenizer else "",
        max_tokens=entry.max_tokens,
        dimensions=entry.dimensions,
        options=entry.options,
        replicas=entry.replicas,
    )


def task_of(
    load: wire.Load,
    inputs: Sequence[Input],
    ask: Ask,
    limits: Limits,
    on_part: Callable[[wire.Part], None] | None = None,
) -> Task:
    """Give the task of a request, with its model's limits.

    Raises:
        Invalid: an option is beyond what a message holds.
    """
    if ask.options:
        wire.check_options(ask.options)
    timeout_s = ask.timeout_s or limits.timeout_s
    return Task(
        load=load,
        inputs=inputs,
        priority=ask.priority,
        options=ask.options,
        deadline=time.monotonic() + timeout_s if timeout_s else 0.0,
        patience=_patience(load.name, ask, limits),
        user=ask.user,
        on_part=on_part,
        max_queued=limits.max_queued,
    )


def _patience(name: str, ask: Ask, limits: Limits) -> str:
    if ask.timeout_s or not limits.timeout_s:
        return f"{ask.timeout_s:g} s is the timeout of the request"
    return (
        f"{limits.timeout_s:g} s is the timeout of the model (stackctl models load {name}"
        " --timeout)"
    )


def account(entry: ModelEntry, outcomes: list[Outcome]) -> dict[str, Any]:
    """Give the fields of `Done` that tell what the parts of a request took."""
    if len(outcomes) == 1:
        [only] = outcomes
        told = only.answer
        return {
            "entry": entry,
            "inputs": told.count,
            "tokens": told.tokens,
            "truncated": told.truncated,
            "device": only.worker.device.id,
            "execution_provider": told.execution_provider,
            "queue_s": told.queue_s,
            "batch_s": told.batch_s,
            "compute_s": told.compute_s,
        }
    answers = [outcome.answer for outcome in outcomes]
    return {
        "entry": entry,
        "inputs": sum(answer.count for answer in answers),
        "tokens": sum(answer.tokens for answer in answers),
        "truncated": sum(answer.truncated for answer in answers),
        "device": ",".join(sorted({outcome.worker.device.id for outcome in outcomes})),
        "execution_provider": ",".join(sorted({a.execution_provider for a in answers})),
        "queue_s": max((answer.queue_s for answer in answers), default=0.0),
        "batch_s": max((answer.batch_s for answer in answers), default=0.0),
        "compute_s": sum(answer.compute_s for answer in answers),
    }
