"""Inference: texts in, vectors out; any input in, results out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Embed texts with a model."""

    texts: list[str]
    """1 to 2,048 texts; one longer than the model's window is cut and counted as truncated."""
    model: str = "default"
    priority: Literal["interactive", "batch"] = "interactive"


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of the texts, in order."""

    model: str
    dimensions: int
    count: int
    vectors: str
    """Base64 of ``count * dimensions`` float32, little-endian, L2-normalised rows."""
    tokens: int
    truncated: int
    device: str
    execution_provider: str
    queue_s: float
    compute_s: float
    batch_s: float = 0.0


class RunInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input: a text, or bytes (an image, a sound, a file), or named tensors."""

    text: str | None = None
    data: str | None = None
    """Base64."""
    tensors: list[TensorData] | None = None


class TensorData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tensor on the wire."""

    name: str
    dtype: str
    """As numpy writes it: ``<f4``, ``<i8``, ``|u1``."""
    shape: list[int]
    data: str
    """Base64 of its bytes, C order, little-endian."""


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run a model on inputs of one kind."""

    inputs: list[RunInput]
    """1 to 2,048."""
    options: dict[str, Any] = {}
    """The model kind's own, such as ``max_new_tokens``."""
    priority: Literal["interactive", "batch"] = "interactive"
    timeout_s: Annotated[float, Meta(ge=0)] = 0.0
    """After which the answer is of no use; 0: the route's own."""
    stream: bool = False
    """Answer with a line a piece (`RunPart`); for one input of a model that streams."""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one input gave."""

    value: Any = None
    """Of JSON; its shape is the model kind's."""
    tensors: list[TensorData] = []


class RunReply(msgspec.Struct, frozen=True, kw_only=True):
    """Results, one an input, in order."""

    model: str
    task: str
    items: list[RunResult]
    tokens: int
    truncated: int
    device: str
    execution_provider: str
    queue_s: float
    """In the queue of the device."""
    batch_s: float
    """In batches, beyond its own share of them."""
    compute_s: float
    """Its share of the batches that it was in."""


class RunPart(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a streamed answer: pieces, then the whole reply."""

    value: Any = None
    reply: RunReply | None = None


ModelLife = Literal["loading", "warming", "ready", "idle", "unloading"]


def _between(low: int, high: int | None = None) -> Meta:
    """Describe a range that the daemon checks itself: its refusal names the value."""
    ends = {"minimum": low} if high is None else {"minimum": low, "maximum": high}
    return Meta(extra_json_schema=ends)


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Load a model before it is asked for."""

    device: str = ""
    """Id of a device; empty: the best one, as ``why`` explains."""
    pinned: bool | None = None
    """Never evicted; none: as it is."""
    ttl_s: Annotated[float, _between(0, 31_536_000)] | None = None
    """Unloaded after so long without a request; 0: never; none: as it is, and
    ``inference.keep_alive_s`` at first."""
    replicas: Annotated[int, _between(1, 64)] | None = None
    """Batches of it that a device computes at once, 1 to 64; they share its weights. None: as it
    is, and what its entry says at first."""
    latency_target_ms: Annotated[float, _between(0, 600_000)] | None = None
    """What 95 of 100 requests should be answered within: batches are sized for it. 0: no target;
    none: as it is, and ``inference.latency_target_ms`` at first."""
    max_queued: Annotated[int, _between(0)] | None = None
    """Inputs of it that may wait or be computed at once; 0: as many as of all models; none: as
    it is, and as its entry says at first."""
    timeout_s: Annotated[float, _between(0, 86_400)] | None = None
    """Of a request that sets none; 0: the route's; none: as above."""


class UnloadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unload a model."""

    device: str = ""
    """Id of a device; empty: all that hold it."""


class RunningModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a device."""

    model: str
    version: str
    """Digest of its files and options."""
    device: str
    state: ModelLife
    execution_provider: str = ""
    memory_bytes: int = 0
    """What loading it took, measured."""
    load_s: float = 0.0
    used_at: str = ""
    in_use: int = 0
    """Requests that hold it: it is not unloaded before they end."""
    pinned: bool = False
    expires_at: str = ""
    """When it goes unless it is asked for; empty: never."""
    batch_budget: int = 0
    """Padded cost of a batch, as calibrated, or as the latency target has it now; 0: by the
    settings."""
    replicas: int = 1
    """Batches of it that are computed at once."""
    latency_target_ms: float = 0.0
    """0: none."""
    latency_p95_ms: float = 0.0
    """Measured from arrival to answer, where there is a target; 0: nothing was yet."""
    max_queued: int = 0
    """Inputs of it that may wait or be computed at once; 0: as many as of all models."""
    timeout_s: float = 0.0
    """Of a request that sets none; 0: the route's."""
    aliases: list[str] = []


class WorkerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker holds of its device's memory."""

    device: str
    worker_pid: int | None
    memory_bytes: int | None
    """Measured: the share of a CPU worker in this machine's memory, what a GPU's worker has of
    the GPU's; None where nothing measures it."""
    models_bytes: int
    """Sum of what loading its models took."""
    above_bytes: int | None
    """The rest: the process itself, libraries, requests under way, and what is not given back
    yet."""


class RunningList(msgspec.Struct, frozen=True, kw_only=True):
    """Models on devices, by device and name."""

    items: list[RunningModel]
    workers: list[WorkerMemory] = []
    """The workers that run, by device."""


class UnloadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What unloading a model from a device gave back."""

    model: str
    device: str
    memory_bytes: int
    """What loading it had taken."""
    returned_bytes: int
    """By how much the worker's memory shrank, measured."""
    recycled: bool
    """The worker's process was ended, and started again where it holds more models."""


class UnloadReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an unload, a device each."""

    items: list[UnloadedModel]


class AliasRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let an alias mean a model from now on."""

    model: str


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that stands for a model, and can be switched to another."""

    alias: str
    model: str
    previous: str = ""
    """What it meant before."""


class AliasList(msgspec.Struct, frozen=True, kw_only=True):
    """Aliases by name."""

    items: list[Alias]


class DeviceVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a device can hold a model, and why."""

    device: str
    decision: Literal["holds", "chosen", "possible", "evicts", "refused"]
    reason: str
    needed_bytes: int
    free_bytes: int
    reclaimable_bytes: int
    """Of models that may be evicted."""
    queued: int
    """Inputs that wait there."""
    rate_per_s: float | None = None
    """Inputs of a full batch per second, as calibrated on devices of its kind; None: not yet."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is or would go."""

    model: str
    needed_bytes: int
    basis: str
    """How the need is known."""
    predicted_bytes: int = 0
    """Before it was loaded on this kind of device for the first time."""
    measured_bytes: int | None = None
    """What loading it then took; None: it was not loaded here yet."""
    prediction_error: float | None = None
    """By how much that was off: 0.1 is a tenth too much."""
    max_queued: int = 0
    """Inputs of it that may wait or be computed at once; 0: as many as of all models."""
    timeout_s: float = 0.0
    """Of a request that sets none; 0: the route's."""
    devices: list[DeviceVerdict]
