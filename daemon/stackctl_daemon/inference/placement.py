"""Which device a model goes to, and why; refuses to load or evict anything.

A model's need is what it took when it was last loaded, or the size of its files times what
loading others took of theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stackctl.contracts.inference import DeviceVerdict
from stackctl.errors import Conflict, Overloaded
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.held_models import LoadedModel
from stackctl_daemon.inference.ports import Room
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.inference.worker_handle import WorkerHandle

TELLING_BYTES = 1 << 20
"""Files of a model below which what it took tells nothing of larger ones."""
LEAST_FACTOR, MOST_FACTOR = 0.5, 4.0
FIRST_FACTOR = 1.5
"""Memory over file size while nothing was measured: weights are repacked, and tokenizers grow."""
WORKER_BYTES = 60_000_000
"""A worker without a model: Python, numpy and ONNX Runtime (45 to 56 MB measured)."""

REPLICA_BYTES = 16_000_000
"""What one more replica computes with, before it was measured (MiniLM, 512 tokens: 8 to 14 MB)."""
RETRY_S = 1.0
"""When to ask again for the room of models that are in use: most answers take less."""


class NoRoom(Conflict):
    """A device, or every one, lacks the memory for a model."""


class RoomInUse(NoRoom):
    """There is room once models that are not pinned are not used any more: ask again."""

    code, exit_code, status = Overloaded.code, Overloaded.exit_code, Overloaded.status


class Measured(msgspec.Struct, frozen=True):
    """What loading a model took."""

    memory_bytes: int
    file_bytes: int
    predicted_bytes: int = 0
    """Before it was loaded for the first time; 0: it was not predicted."""


@dataclass(frozen=True, slots=True)
class Need:
    """How much memory a model will take."""

    memory_bytes: int
    basis: str


class Predictor:
    """Learns what loading takes; keeps it on disk."""

    def __init__(self, file: StateFile[Measured]) -> None:
        self._file = file
        self._known = file.read()
        self._sizes: dict[str, int] = {}

    def need(self, load: wire.Load, kind: str) -> Need:
        """Predict what a model takes on a kind of device."""
        known = self._known.get(_name(load, kind))
        if known:
            return Need(known.memory_bytes, "measured when it was last loaded")
        fewer = self._fewer(load, kind)
        if fewer:
            return fewer
        # Of a graph of kilobytes the libraries' share is thousands of times its files.
        ratios = [
            measured.memory_bytes / measured.file_bytes
            for name, measured in self._known.items()
            if name.startswith(f"{kind}:") and measured.file_bytes >= TELLING_BYTES
        ]
        factor = statistics.median(ratios) if ratios else FIRST_FACTOR
        factor = min(max(factor, LEAST_FACTOR), MOST_FACTOR)
        size = self._file_bytes(load)
        told = "as others took" if ratios else "nothing of its like was loaded here yet"
        return Need(int(size * factor), f"{size} bytes of files x {factor:.2f}, {told}")

    def measured(self, load: wire.Load, kind: str) -> Measured | None:
        """Give what loading a model took, beside what was predicted of it; None: never loaded."""
        return self._known.get(_name(load, kind))

    def learn(self, load: wire.Load, kind: str, memory_bytes: int) -> bool:
        """Note what loading took; tell whether that is news worth writing."""
        if memory_bytes <= 0:
            return False
        name = _name(load, kind)
        old = self._known.get(name)
        # The first model of a process also pays for the libraries: the smaller need is its own.
        least = min(memory_bytes, old.memory_bytes) if old else memory_bytes
        predicted = old.predicted_bytes if old else self.need(load, kind).memory_bytes
        self._known[name] = Measured(least, self._file_bytes(load), predicted)
        return old is None or abs(old.memory_bytes - least) > 0.02 * least

    def _fewer(self, load: wire.Load, kind: str) -> Need | None:
        """Predict by what the model took with the next smaller number of replicas.

        They share its weights; of what each computes with, nothing is known but that it is less
        than all of what the model took.
        """
        for count in range(load.replicas - 1, 0, -1):
            known = self._known.get(_name(msgspec.structs.replace(load, replicas=count), kind))
            if known:
                more = (load.replicas - count) * REPLICA_BYTES
                told = f"measured with {count} of its {load.replicas} replicas"
                return Need(known.memory_bytes + more, told)
        return None

    def forget(self, name: str) -> None:
        """Drop what is known of every version of a model, and write that."""
        kept = {
            told: known
            for told, known in self._known.items()
            if told.partition(":")[2].rpartition("@")[0] != name
        }
        if kept != self._known:
            self._known = kept
            self.save()

    def save(self) -> None:
        """Write what was learned."""
        self._file.write(self._known)

    def _file_bytes(self, load: wire.Load) -> int:
        if load.key not in self._sizes:
            files = [f for f in Path(load.directory).glob("*") if f.is_file()]
            self._sizes[load.key] = sum(f.stat().st_size for f in files)
        return self._sizes[load.key]


def _name(load: wire.Load, kind: str) -> str:
    """Under which name what a model takes is kept: a number of replicas has its own."""
    more = f" x{load.replicas}" if load.replicas > 1 else ""
    return f"{kind}:{load.key}{more}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device as it is when a model asks for a place."""

    worker: WorkerHandle
    room: Room | None
    """None: it does not answer."""
    need: Need
    opening: int
    """Bytes that models which are being opened will take."""
    reclaimable: int
    """Bytes of models that may be evicted."""
    slack: int = 0
    """Bytes that its worker holds without a model that needs them."""
    in_use: int = 0
    """Bytes of models that may be evicted once nobody uses them."""

    @property
    def needed(self) -> int:
        """The model's need, and the worker's own where it does not run."""
        return self.need.memory_bytes + (0 if self.worker.pid else WORKER_BYTES)

    @property
    def free(self) -> int:
        """Bytes that can be had; very many where nothing measures it."""
        if self.room is None:
            return 0
        return (1 << 60) if self.room.free is None else self.room.free - self.opening

    @property
    def fits(self) -> bool:
        """It fits without evicting anything."""
        return self.needed <= self.free

    @property
    def can_fit(self) -> bool:
        """It fits when all that may be evicted is, and its worker gave back what it can."""
        return self.needed <= self.free + self.reclaimable + self.slack

    @property
    def will_fit(self) -> bool:
        """It fits when, besides, what is in use now has ended."""
        return self.needed <= self.free + self.reclaimable + self.slack + self.in_use


def rank(candidates: Sequence[Candidate], key: str) -> list[Candidate]:
    """Give the candidates that can take a model, best first.

    One that holds it, then GPUs before CPUs, those that need no eviction, the least loaded, the
    one with most memory free.
    """
    usable = [c for c in candidates if c.worker.sound and c.room is not None]
    gpus = [c for c in usable if c.worker.device.kind == "cuda"]
    able = [c for c in gpus or usable if key in c.worker.held.wanted or c.can_fit]
    return sorted(
        able,
        key=lambda c: (
            key not in c.worker.held.wanted,
            not c.fits,
            c.worker.avoided,
            c.worker.load,
            -c.free,
        ),
    )


def explain(candidates: Sequence[Candidate], key: str) -> list[DeviceVerdict]:
    """Say of each device what it would do for a model, and why."""
    ranked = rank(candidates, key)
    gpu = any(c.worker.device.kind == "cuda" and c.worker.sound and c.room for c in candidates)
    return [_verdict(c, key, ranked, gpu=gpu) for c in candidates]


def refusal(name: str, candidates: Sequence[Candidate]) -> NoRoom:
    """Give the error of a model that no device can hold, with the figures of each."""
    told = "; ".join(
        f"{c.worker.device.id}: needs {_mb(c.needed)}, {_free(c)}" for c in candidates
    )
    error = RoomInUse if any(c.room and c.will_fit for c in candidates) else NoRoom
    waits = " until others are not used any more" if error is RoomInUse else ""
    return error(
        f'no device has room for model "{name}"{waits}: {told or "there is no device"}',
        hint=f"stackctl models why {name}",
        retry_after_s=RETRY_S if error is RoomInUse else None,
    )


def _verdict(
    candidate: Candidate, key: str, ranked: list[Candidate], *, gpu: bool
) -> DeviceVerdict:
    worker = candidate.worker
    decision, reason = "possible", f"needs {_mb(candidate.needed)}, {_free(candidate)}"
    if key in worker.models:
        decision, reason = "holds", _holding(worker.models[key])
    elif key in worker.held.wanted:
        decision, reason = "holds", "is being loaded"
    elif candidate.room is None:
        decision, reason = "refused", "the device does not answer"
    elif not worker.sound:
        decision = "refused"
        reason = f"{worker.problem}; tried again in {worker.retry_in_s:.0f} s"
    elif gpu and worker.device.kind != "cuda":
        decision, reason = "refused", "a GPU is usable, and CPUs are for when none is"
    elif not candidate.can_fit:
        decision = "refused"
    elif not candidate.fits:
        decision = "evicts"
    if ranked and ranked[0] is candidate and decision != "holds":
        chosen = "evicts" if decision == "evicts" else "chosen"
        decision, reason = chosen, f"{reason}: the best place"
    return DeviceVerdict(
        device=worker.device.id,
        decision=decision,  # type: ignore[arg-type]  # one of the literals above
        reason=reason,
        needed_bytes=candidate.needed,
        free_bytes=min(max(0, candidate.free), 1 << 53),
        reclaimable_bytes=candidate.reclaimable,
        queued=worker.queued,
    )


def _holding(model: LoadedModel) -> str:
    said = f"loaded, took {_mb(model.memory_bytes)}"
    if model.load.replicas > 1:
        said += f", {model.load.replicas} replicas"
    if model.load.latency_target_s:
        said += f", target {model.load.latency_target_s * 1e3:g} ms"
        if model.paced:
            paced = model.paced
            said += f": p95 {paced.p95_s * 1e3:.0f} ms with batches of {paced.budget}"
    return said


def _free(candidate: Candidate) -> str:
    if candidate.room is None:
        return "does not answer"
    if candidate.room.free is None:
        return "its memory is not measured"
    more = f" and {_mb(candidate.reclaimable)} can be evicted" if candidate.reclaimable else ""
    return f"{_mb(max(0, candidate.free))} are free{more}"


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
