"""Graphs on ONNX Runtime, the only importer of it.

Refuses to run anywhere but on the device it was made for: ONNX Runtime falls back to the CPU
in silence, so the session is asked what it got.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Array
from stackctl_daemon.inference.arena import GpuArenas, Shrinking, host_arena
from stackctl_daemon.inference.providers import CPU, PLAIN, GpuPolicy, Profile, choose

# As CUDA and cuDNN word what ends a context; memory that is short is the batch's fault.
_LOST = re.compile(
    r"CUDA (?:failure|error) (?!2\b)\d+|CUDNN_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR)"
    r"|GPU is lost|device-side assert|illegal memory access"
)

_NO_MEMORY = re.compile(r"bad_alloc|[Ff]ailed to allocate memory|out of memory")


class DeviceUnusable(Failed):
    """The device cannot run the model; another one may."""


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """How graphs are opened on a device."""

    kind: str
    """``cpu`` or ``cuda``."""
    threads: int = 1
    share_weights: bool = False
    """Map weights instead of repacking them: replicas share them; slower for single inputs."""
    gpu: GpuPolicy = PLAIN
    arenas: GpuArenas = field(default_factory=GpuArenas, compare=False)

    def give_back(self) -> None:
        """Give back what graphs keep and do not use; on a GPU at the end of their next runs."""
        if self.kind == "cuda":
            self.arenas.ask()
        elif not self.share_weights:
            host_arena().shrink()

    def shared_by(self, replicas: int) -> DevicePolicy:
        """Give how a graph is opened that so many threads run at once.

        One session serves them all, so weights, packed or not, are there once. Each thread that
        runs it computes, and helpers on the cores that are left help whoever needs them.

        Raises:
            Failed: the device runs one batch at a time.
        """
        if replicas > 1 and self.kind == "cuda" and self.gpu.cuda_graphs:
            raise Failed(
                f"{replicas} replicas are asked for, and with gpu.cuda_graphs a device runs one",
                hint="stackctl config show",
            )
        return replace(self, threads=max(1, self.threads - replicas + 1))

    def open(
        self,
        graph: Path,
        *,
        outputs: Sequence[str] | None = None,
        profiles: Mapping[str, Profile] | None = None,
    ) -> OrtSession:
        """Open a graph; see `adapters.base.OpenSession`."""
        return OrtSession(suited(graph, self.kind), self, outputs, profiles)


class OrtSession:
    """One graph on one device."""

    on_device: float = 1.0
    """Share of the nodes that the device runs."""

    def __init__(
        self,
        graph: Path,
        policy: DevicePolicy,
        outputs: Sequence[str] | None = None,
        profiles: Mapping[str, Profile] | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = policy.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Shapes differ from batch to batch: a memory plan for each would only grow.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if policy.share_weights:
            options.add_session_config_entry("session.disable_prepacking", "1")
            # Each session's arena keeps its largest batch: replicas would sum them up.
            options.enable_cpu_mem_arena = False
        elif policy.kind == "cpu":
            host_arena().join(options)
        self._shrinking = Shrinking(policy.arenas) if policy.kind == "cuda" else None
        choice = choose(policy.kind, policy.gpu, graph, profiles)
        if policy.kind == "cuda":
            ort.preload_dlls()  # the CUDA libraries of the nvidia-* packages, when installed
            # Which nodes run where can only be asked of a session that recorded it.
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        source: str | bytes = str(graph)
        if outputs:
            source = _tapped(graph, outputs)
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(graph.parent)
            )
        try:
            self._session = ort.InferenceSession(source, options, providers=choice.providers)
        except Exception as err:  # ORT's own exceptions share no base class
            # No memory for a graph is the device's fault: another may have it.
            kind = DeviceUnusable if _NO_MEMORY.search(str(err)) else Failed
            raise kind(f"ONNX Runtime cannot open {graph}: {err}") from err
        got = self._session.get_providers()
        if got[0] != choice.wanted:
            raise DeviceUnusable(
                f"asked ONNX Runtime for {choice.wanted}, it gave {', '.join(got)}",
                hint="stackctl doctor",
            )
        self.execution_provider: str = got[0]
        if policy.kind == "cuda":
            self._check_assignment(graph)
        self.inputs: Mapping[str, tuple[str, list[int | str | None]]] = {
            item.name: (item.type, list(item.shape)) for item in self._session.get_inputs()
        }
        self.outputs: Sequence[str] = [item.name for item in self._session.get_outputs()]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def _check_assignment(self, graph: Path) -> None:
        """Refuse a session of which the device runs nothing: it would be the CPU's in disguise."""
        counts: dict[str, int] = {}
        for part in self._session.get_provider_graph_assignment_info():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
        on_cpu, total = counts.get(CPU, 0), sum(counts.values())
        if total and on_cpu == total:
            raise DeviceUnusable(
                f"{self.execution_provider} took none of the {total} nodes of {graph}",
                hint="stackctl doctor",
            )
        self.on_device = 1 - on_cpu / total if total else 1.0

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, Array]) -> list[Array]:
        """Compute; see `adapters.base.Session`."""
        kept: Any = dict(feed)
        options = self._shrinking.options(feed) if self._shrinking else None
        try:
            found: Any = self._session.run(list(outputs) if outputs else None, kept, options)
        except Exception as err:  # as above
            if _LOST.search(str(err)):
                raise DeviceUnusable(f"ONNX Runtime: {err}", hint="stackctl doctor") from err
            raise Failed(f"ONNX Runtime: {err}") from err
        tensors: list[Array] = found
        return tensors


def suited(graph: Path, kind: str) -> Path:
    """Give the form of a graph for a kind of device.

    A shape that hangs on values stalls a GPU: beside a graph that packs its tokens lies one that
    pads them.
    """
    padded = graph.with_suffix(".padded.onnx")
    return padded if kind == "cuda" and padded.exists() else graph


def _tapped(graph: Path, outputs: Sequence[str]) -> bytes:
    """Give a graph with more outputs.

    Messages of protobuf that follow one another are merged, so a ``ModelProto`` of nothing but
    ``graph.output`` (fields 7 and 12 of onnx.proto) adds them without a parser.
    """
    infos = b"".join(_field(12, _field(1, name.encode())) for name in outputs)
    return graph.read_bytes() + _field(7, infos)


def _field(number: int, payload: bytes) -> bytes:
    size, encoded = len(payload), bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *encoded, size]) + payload
