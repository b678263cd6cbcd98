from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest
from tiny_model import write_graph

from stackctl.errors import Failed
from stackctl_daemon.inference import providers
from stackctl_daemon.inference.providers import GpuPolicy, choose, text_profiles
from stackctl_daemon.inference.session import DevicePolicy, DeviceUnusable

GRAPH = Path("model.onnx")


def test_a_cpu_device_asks_for_the_cpu_alone() -> None:
    choice = choose(
        "cpu", GpuPolicy(tensorrt=True), GRAPH, text_profiles(["x"], max_tokens=8, budget=64)
    )

    assert choice.providers == [("CPUExecutionProvider", {})]


def test_a_gpu_asks_for_cuda_and_leaves_the_rest_of_the_nodes_to_the_cpu() -> None:
    choice = choose("cuda", GpuPolicy(memory_limit_bytes=1 << 30), GRAPH)

    (name, options), cpu = choice.providers
    assert (name, choice.wanted) == ("CUDAExecutionProvider", "CUDAExecutionProvider")
    assert options["gpu_mem_limit"] == str(1 << 30)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert cpu[0] == "CPUExecutionProvider"


def test_tensorrt_is_asked_for_only_with_shapes_to_build_for() -> None:
    policy = GpuPolicy(tensorrt=True, engine_cache="engines")

    without = choose("cuda", policy, GRAPH)
    built = choose("cuda", policy, GRAPH, text_profiles(["ids"], max_tokens=256, budget=1024))

    assert without.wanted == "CUDAExecutionProvider"
    assert built.wanted == "TensorrtExecutionProvider"
    name, options = built.providers[0]
    assert name == "TensorrtExecutionProvider"
    assert options["trt_profile_min_shapes"] == "ids:1x1"
    assert options["trt_profile_opt_shapes"] == "ids:8x128"
    assert options["trt_profile_max_shapes"] == "ids:64x256"
    assert options["trt_engine_cache_path"] == "engines"


def test_every_option_of_cuda_is_one_that_the_library_knows() -> None:
    """The names stand as text in the provider's library; a typing error would be silent."""
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("onnxruntime without the CUDA provider")
    data = library.read_bytes()

    options = choose("cuda", GpuPolicy(memory_limit_bytes=1), GRAPH).providers[0][1]

    assert [name for name in options if name.encode() not in data] == []


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a GPU here would be used")
def test_without_a_gpu_the_session_is_refused_and_not_the_cpus(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, pooled=True)

    with pytest.raises(DeviceUnusable, match="CPUExecutionProvider"):
        DevicePolicy("cuda", gpu=GpuPolicy(tf32=True)).open(graph)


def test_a_session_that_the_device_runs_nothing_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU stands in for a GPU provider that was given, and took no node.
    graph = write_graph(tmp_path, pooled=True)
    choice = providers.Choice([("CPUExecutionProvider", {})], "CPUExecutionProvider")
    monkeypatch.setattr("stackctl_daemon.inference.session.choose", lambda *_: choice)

    with pytest.raises(DeviceUnusable, match="none of the"):
        DevicePolicy("cuda").open(graph)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("CUDA failure 999: unknown error ; GPU=0", True),
        ("CUDA failure 700: an illegal memory access was encountered", True),
        ("CUDA failure 2: out of memory ; GPU=0", False),
        ("BFCArena::AllocateRawInternal Failed to allocate memory", False),
        ("Invalid rank for input: x", False),
    ],
)
def test_only_a_lost_device_is_the_devices_fault(tmp_path: Path, text: str, lost: bool) -> None:
    class Broken:
        def run(self, *_: object) -> None:
            raise RuntimeError(text)

    session = DevicePolicy("cpu").open(write_graph(tmp_path, pooled=True))
    session.execution_provider = "CUDAExecutionProvider"
    session._session = Broken()

    with pytest.raises(Failed) as caught:
        session.run(None, {})

    assert isinstance(caught.value, DeviceUnusable) == lost


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("Exception during initialization: std::bad_alloc", True),
        ("BFCArena::AllocateRawInternal Failed to allocate memory", True),
        ("Protobuf parsing failed", False),
    ],
)
def test_no_memory_for_a_graph_is_the_devices_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, device: bool
) -> None:
    def session(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    graph = write_graph(tmp_path, pooled=True)
    monkeypatch.setattr(ort, "InferenceSession", session)

    with pytest.raises(Failed) as caught:
        DevicePolicy("cpu").open(graph)

    assert isinstance(caught.value, DeviceUnusable) == device
