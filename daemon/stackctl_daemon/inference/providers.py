"""Execution providers of ONNX Runtime and their options, by device; refuses to choose a device.

One policy for CPU, CUDA and TensorRT. Options as in ONNX Runtime 1.31, documents of the CUDA
and TensorRT execution providers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
)
Profile = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Smallest, usual and largest shape of an input."""
Provider = tuple[str, dict[str, str]]


class GpuPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How graphs run on a GPU."""

    memory_limit_bytes: int = 0
    """Bound of ONNX Runtime's arena, for each session; 0: none."""
    cuda_graphs: bool = False
    """Record the launches of a shape and repeat them; for models whose shapes do not change."""
    tf32: bool = False
    """Let matrix products round to 19 bits on tensor cores."""
    tensorrt: bool = False
    """Build TensorRT engines, and keep them."""
    fp16: bool = False
    """Let TensorRT compute in half precision."""
    engine_cache: str = ""
    """Folder of the engines and timings; building one takes minutes."""


PLAIN = GpuPolicy()
"""CUDA, with what ONNX Runtime does by itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a session asks ONNX Runtime for."""

    providers: list[Provider]
    wanted: str
    """The one that must run it, or the device is not usable."""


def choose(
    kind: str, gpu: GpuPolicy, graph: Path, profiles: Mapping[str, Profile] | None = None
) -> Choice:
    """Give the providers for a device of a kind (``cpu`` or ``cuda``), best first.

    The CPU stays last for the few nodes that have no kernel on a GPU; whether it got more than
    that is read from the session.
    """
    if kind == "cpu":
        return Choice([(CPU, {})], CPU)
    cuda = {
        # The arena doubles by default, and keeps what it took: users see it as a leak.
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "use_tf32": str(int(gpu.tf32)),
        "enable_cuda_graph": str(int(gpu.cuda_graphs)),
    }
    if gpu.memory_limit_bytes:
        cuda["gpu_mem_limit"] = str(gpu.memory_limit_bytes)
    providers: list[Provider] = [(CUDA, cuda), (CPU, {})]
    # Without profiles an engine is built anew, for minutes, at each shape not seen before.
    if not gpu.tensorrt or not profiles:
        return Choice(providers, CUDA)
    cache = Path(gpu.engine_cache or graph.parent / "tensorrt")
    tensorrt = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": str(int(gpu.fp16)),
        "trt_context_memory_sharing_enable": "1",
        "trt_cuda_graph_enable": str(int(gpu.cuda_graphs)),
    }
    for position, name in enumerate(("min", "opt", "max")):
        shapes = [f"{key}:{_shape(profile[position])}" for key, profile in profiles.items()]
        tensorrt[f"trt_profile_{name}_shapes"] = ",".join(shapes)
    return Choice([(TENSORRT, tensorrt), *providers], TENSORRT)


def text_profiles(names: Sequence[str], *, max_tokens: int, budget: int) -> dict[str, Profile]:
    """Give the shapes ``(batch, tokens)`` that a text encoder meets under a token budget.

    The largest batch is that of texts of 16 tokens: few are shorter, and an engine takes memory
    for its largest shape.
    """
    usual = max(1, min(max_tokens, 128))
    profile: Profile = (
        (1, 1),
        (max(1, budget // usual), usual),
        (max(1, budget // 16), max(1, max_tokens)),
    )
    return dict.fromkeys(names, profile)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)
