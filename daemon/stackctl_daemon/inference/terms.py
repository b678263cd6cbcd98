"""On what terms devices keep models; refuses to load or unload any.

Terms are of a model that is wanted: with a load that failed they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import LoadedModel
from stackctl_daemon.inference.worker_handle import WorkerHandle


@dataclass(slots=True)
class Terms:
    """On what terms a device keeps a model."""

    pinned: bool = False
    ttl_s: float = 0.0


class KeptTerms:
    """Terms by device and model."""

    def __init__(
        self,
        workers: Sequence[WorkerHandle],
        *,
        keep_alive_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._keep_alive_s = keep_alive_s
        self._clock = clock
        self._known: dict[tuple[str, str], Terms] = {}

    def of(self, worker: WorkerHandle, key: str) -> Terms:
        """Give the terms of a model on a device."""
        return self._known.get((worker.device.id, key), Terms())

    def begin(self, worker: WorkerHandle, load: wire.Load) -> None:
        """Give a model that is to be wanted those of its other version, else the usual ones."""
        terms = Terms(ttl_s=self._keep_alive_s)
        for key, other in worker.held.wanted.items():
            if other.name == load.name:
                terms = replace(self.of(worker, key))
        self._known[worker.device.id, load.key] = terms

    def change(
        self, worker: WorkerHandle, key: str, *, pinned: bool | None, ttl_s: float | None
    ) -> None:
        """Set what is not None."""
        terms = self._known.setdefault((worker.device.id, key), Terms())
        terms.pinned = terms.pinned if pinned is None else pinned
        terms.ttl_s = terms.ttl_s if ttl_s is None else ttl_s

    def prune(self) -> None:
        """Forget those of models that are not wanted any more: unloaded, replaced or failed."""
        wanted = {(w.device.id, key) for w in self._workers for key in w.held.wanted}
        self._known = {name: kept for name, kept in self._known.items() if name in wanted}

    def left_s(self, worker: WorkerHandle, model: LoadedModel) -> float | None:
        """Until a model goes; None: it stays."""
        terms = self.of(worker, model.load.key)
        if terms.pinned or not terms.ttl_s:
            return None
        return model.used_at + terms.ttl_s - self._clock()

    def due_s(self) -> float | None:
        """Until a model may have to go; None: none has to, as things are."""
        left = [
            seconds
            for worker in self._workers
            for model in worker.models.values()
            if (seconds := self.left_s(worker, model)) is not None
        ]
        if left:
            # A model in use may be past its time: it is looked at again soon.
            return min(60.0, max(0.05, min(left)))
        return (
            1.0 if any(kept.ttl_s and not kept.pinned for kept in self._known.values()) else None
        )
