"""Memory that ONNX Runtime keeps for tensors, and giving it back; refuses to say when.

By itself every session has an arena that keeps the most it ever took. Here all graphs of a
process share one, which can be asked for what it does not use: an empty graph is run with the
option that shrinks it. Arenas of a GPU are each session's own, and shrink at the end of a run.

Source: onnxruntime_session_options_config_keys.h and onnxruntime_run_options_config_keys.h of
ONNX Runtime 1.31. Measured: docs/decisions/0012-one-arena-a-worker.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import onnxruntime as ort

from stackctl_daemon.inference.adapters.base import Array

_SHRINK = "memory.enable_memory_arena_shrinkage"
_UNUSUAL = 4.0
"""Times the usual size of what a run is fed, from which on its memory is not kept."""
_TELLING_BYTES = 1 << 20
"""Below it no run takes much."""


class HostArena:
    """The one arena of this process's graphs in the memory of the machine."""

    def __init__(self) -> None:
        where = ort.OrtMemoryInfo(
            "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
        )
        # The strategy that doubles: asking for what is needed alone took 1.4 times at the peak.
        ort.create_and_register_allocator(where, ort.OrtArenaCfg({"arena_extend_strategy": 0}))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.join(options)
        self._nothing = ort.InferenceSession(
            _identity(), options, providers=["CPUExecutionProvider"]
        )
        self._options = shrinking("cpu:0")

    def join(self, options: ort.SessionOptions) -> None:
        """Let a session that is to be opened take its tensors from here."""
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Weights stay as long as their model: among tensors they would hold regions back.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")

    def shrink(self) -> None:
        """Give back the regions that no tensor is in."""
        self._nothing.run(None, {"x": np.zeros(1, np.float32)}, self._options)


@functools.cache  # ONNX Runtime takes one of a kind in a process
def host_arena() -> HostArena:
    """Give the arena of this process, made at the first call."""
    return HostArena()


class GpuArenas:
    """When the sessions of a GPU shrink their arenas: runs far above the usual, and when asked."""

    def __init__(self) -> None:
        self.asked = 0
        """How many times."""

    def ask(self) -> None:
        """Have each session shrink at the end of its next run."""
        self.asked += 1


class Shrinking:
    """Of one session: which of its runs give back what they took."""

    def __init__(self, arenas: GpuArenas) -> None:
        self._arenas = arenas
        self._seen = arenas.asked
        self._usual = 0.0
        self._options = shrinking("gpu:0")

    def options(self, feed: Mapping[str, Array]) -> ort.RunOptions | None:
        """Give the options of a run; None where it keeps what it takes."""
        size = sum(value.nbytes for value in feed.values())
        unusual = size > _TELLING_BYTES and size > _UNUSUAL * self._usual > 0
        # A size that comes again and again becomes the usual one.
        self._usual += 0.1 * (size - self._usual) if self._usual else size
        asked, self._seen = self._seen != self._arenas.asked, self._arenas.asked
        return self._options if unusual or asked else None


def shrinking(devices: str) -> ort.RunOptions:
    """Give the options of a run that shrinks the arenas of devices at its end."""
    options = ort.RunOptions()
    options.add_run_config_entry(_SHRINK, devices)
    return options


def _identity() -> bytes:
    """Give a graph of one node, ``y = x`` of one float32; fields as in onnx.proto."""
    one = _field(2, _field(1, b"\x08\x01"))  # shape: dim { dim_value: 1 }
    kind = _field(2, _field(1, b"\x08\x01" + one))  # tensor_type: FLOAT, shape
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    graph = _field(1, node) + _field(2, b"nothing")
    graph += _field(11, _field(1, b"x") + kind) + _field(12, _field(1, b"y") + kind)
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x0d")  # IR 8, opset 13


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload
