"""The Open Inference Protocol against a real daemon: Triton's own client, and what it never sends.

The models are the real one of texts, and a graph of ours that is asked for its own tensors.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from harness import Stack
from onnx import TensorProto, helper

triton = pytest.importorskip("tritonclient.http", reason="the test extra has it")

pytestmark = pytest.mark.model
MIXER = "mixer"


def write_mixer(home: Path) -> None:
    """Put a graph, ``sum = a + b`` and ``best = argmax(sum)``, and its entry into a home."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("ArgMax", ["sum"], ["best"], axis=1, keepdims=0),
        ],
        "mixer",
        [value(name, TensorProto.FLOAT, ["rows", 3]) for name in ("a", "b")],
        [
            value("sum", TensorProto.FLOAT, ["rows", 3]),
            value("best", TensorProto.INT64, ["rows"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file = home / "mixer.onnx"
    onnx.save(model, str(file))
    data = file.read_bytes()
    folder = home / "config" / "models"
    folder.mkdir(parents=True)
    (folder / "mixer.toml").write_text(
        f'name = "{MIXER}"\ntask = "tensor"\nsummary = "Adds"\nlicence = "Apache-2.0"\n'
        'architecture = "onnx"\nadapter = "tensor-graph"\n\n[[files]]\nname = "model.onnx"\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nsize_bytes = {len(data)}\n'
        f'sources = ["file:{file}"]\n'
    )


@pytest.fixture(scope="module")
def stack(fetched_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(env={"STACKCTL_API__LISTEN": "127.0.0.1:0"}) as running:
        write_mixer(running.home)
        done = running.cli("models", "pull", MIXER)
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture
def headers(stack: Stack) -> dict[str, str]:
    """Of one test: the client writes its own fields into what it is given."""
    token = (stack.home / "state" / "api-token").read_text().strip()
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    return str(stack.ok("GET", "/v1/status")["api_url"]).removeprefix("http://")


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    found = triton.InferenceServerClient(address)
    yield found
    found.close()


@pytest.fixture
def ask(address: str, headers: dict[str, str]) -> Any:
    def send(path: str, body: bytes | dict[str, Any], **more: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            told = headers | {name.replace("_", "-"): value for name, value in more.items()}
            connection.request("POST", path, raw, told)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return send


def test_the_client_finds_server_and_models(client: Any, headers: dict[str, str]) -> None:
    assert client.is_server_live(headers)
    assert client.is_server_ready(headers)
    assert client.is_model_ready("all-minilm-l6-v2", headers=headers)
    assert client.is_model_ready("all-minilm-l6-v2", "1", headers=headers)
    assert not client.is_model_ready("nope", headers=headers)
    assert not client.is_model_ready("all-minilm-l6-v2", "7", headers=headers)
    assert client.get_server_metadata(headers)["name"] == "stackctl"
    index = client.get_model_repository_index(headers)
    assert {"all-minilm-l6-v2", MIXER} <= {item["name"] for item in index}


def test_metadata_are_the_graphs_own(client: Any, headers: dict[str, str]) -> None:
    text = client.get_model_metadata("minilm", headers=headers)
    graph = client.get_model_metadata(MIXER, headers=headers)

    assert text["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert text["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}]
    assert graph["inputs"] == [
        {"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in ("a", "b")
    ]
    assert graph["outputs"][1] == {"name": "best", "datatype": "INT64", "shape": [-1]}


@pytest.mark.parametrize("binary", [True, False])
def test_texts_become_vectors(
    client: Any, headers: dict[str, str], stack: Stack, binary: bool
) -> None:
    texts = ["a river in winter", "Grüße", ""]
    given = triton.InferInput("text", [3], "BYTES")
    given.set_data_from_numpy(np.array([t.encode() for t in texts], object), binary_data=binary)
    wanted = [triton.InferRequestedOutput("embedding", binary_data=binary)]
    found = client.infer("minilm", [given], outputs=wanted, headers=headers)
    expected = stack.ok("POST", "/v1/embeddings", {"model": "minilm", "input": texts[:2]})

    rows = found.as_numpy("embedding")
    assert rows.shape == (3, 384)
    assert np.allclose(rows[:2], [i["embedding"] for i in expected["data"]], atol=1e-3)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_graph_gives_the_tensors_that_are_asked_for(
    client: Any, headers: dict[str, str], sent: bool, wanted: bool
) -> None:
    a = np.array([[1, 5, 2], [9, 0, 1]], np.float32)
    b = np.array([[1, 1, 8], [0, 0, 0]], np.float32)
    inputs = [triton.InferInput(name, [2, 3], "FP32") for name in ("a", "b")]
    for item, value in zip(inputs, (a, b), strict=True):
        item.set_data_from_numpy(value, binary_data=sent)
    best = [triton.InferRequestedOutput("best", binary_data=wanted)]
    found = client.infer(MIXER, inputs, outputs=best, headers=headers, request_id="r1")
    headers.pop("Inference-Header-Content-Length", None)
    whole = client.infer(MIXER, inputs, headers=headers)

    assert found.as_numpy("best").tolist() == [2, 0]
    assert found.as_numpy("sum") is None
    assert found.get_response()["id"] == "r1"
    assert np.array_equal(whole.as_numpy("sum"), a + b)


def test_statistics_count_what_was_asked(client: Any, headers: dict[str, str]) -> None:
    def counted() -> tuple[int, int]:
        [told] = client.get_inference_statistics(MIXER, headers=headers)["model_stats"]
        return told["execution_count"], told["inference_stats"]["compute_infer"]["ns"]

    before = counted()
    inputs = [triton.InferInput(name, [1, 3], "FP32") for name in ("a", "b")]
    for item in inputs:
        item.set_data_from_numpy(np.ones((1, 3), np.float32))
    client.infer(MIXER, inputs, headers=headers)
    after = counted()

    assert after[0] == before[0] + 1
    assert after[1] > before[1]


def test_models_are_loaded_and_unloaded(client: Any, headers: dict[str, str]) -> None:
    def state() -> str:
        index = client.get_model_repository_index(headers)
        return str(next(item["state"] for item in index if item["name"] == MIXER))

    client.load_model(MIXER, headers)
    loaded = state()
    client.unload_model(MIXER, headers)
    unloaded = state()
    client.unload_model(MIXER, headers)

    assert (loaded, unloaded) == ("READY", "UNAVAILABLE")


def test_an_error_reaches_the_client_in_words(client: Any, headers: dict[str, str]) -> None:
    given = triton.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"a"], object))

    with pytest.raises(triton.InferenceServerException, match='no model "nope"') as caught:
        client.infer("nope", [given], headers=headers)
    assert caught.value.status() == "404"
    with pytest.raises(triton.InferenceServerException, match="no token"):
        client.get_server_metadata()


def tensor(**fields: Any) -> dict[str, Any]:
    return {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]} | fields]
    }


ROW = {"name": "a", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("minilm", b"{", "inference request"),
        ("minilm", {"inputs": []}, "no inputs"),
        ("minilm", tensor(name="other"), 'wants the input "text"'),
        ("minilm", tensor(shape=[2]), "has 1 elements, expected 2"),
        ("minilm", tensor(shape=[1, 1, 1]), "has the shape"),
        ("minilm", tensor(shape=[-1]), "inference request"),
        ("minilm", tensor(shape=[0], data=[]), "0 elements"),
        ("minilm", tensor(shape=[10_000], data=["a"] * 10_000), "10000 elements"),
        ("minilm", tensor(data=[1]), "other than strings"),
        ("minilm", tensor(data=None), "has no data"),
        ("minilm", tensor(datatype="FP32", data=[1.5]), "is of float32"),
        ("minilm", tensor(datatype="COMPLEX"), 'datatype "COMPLEX"'),
        ("minilm", tensor(parameters={"binary_data_size": 4}), "binary_data_size 4"),
        ("minilm", tensor() | {"outputs": [{"name": "x"}]}, 'no output "x"'),
        ("minilm", tensor() | {"parameters": {"x": 1 << 90}}, "beyond 64 bits"),
        ("minilm", tensor(parameters={"shared_memory_region": "r"}), "is not offered"),
        (MIXER, {"inputs": [ROW], "outputs": [{"name": "best", "parameters":
         {"classification": 3}}]}, "classification is not offered"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "data": [[[1, 2, 3]]]}]}, "nested 3 deep"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "shape": [1 << 70, 3]}]}, "has a side of"),
        (MIXER, b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
         "malformed"),
        (MIXER, b"", "inference request"),
        (MIXER, {"inputs": [ROW]}, 'lacks "b"'),
        (MIXER, {"inputs": [ROW, ROW]}, "given twice"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "data": [1, 2]}]}, "has 2 elements"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "data": [[1], [2, 3]]}]}, "differ in length"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "data": [1, 2, "x"]}]}, "expected FP32"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "data": [1, 2, 1e300]}]}, "infinity"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "datatype": "INT8", "data": [1, 2, 300]}]},
         "out of range"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "datatype": "INT32"}]}, "is int32"),
        (MIXER, {"inputs": [ROW, ROW | {"name": "b", "shape": [3]}]}, "is [3]"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_of_this_protocols_shape(
    ask: Any, model: str, body: Any, words: str
) -> None:
    status, reply = ask(f"/v2/models/{model}/infer", body)

    assert status == 400, reply
    assert list(reply) == ["error"]
    assert words in reply["error"]


def test_not_a_number_is_refused_in_binary_too(ask: Any) -> None:
    rows = [
        {"name": name, "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
        for name in ("a", "b")
    ]
    head = json.dumps({"inputs": rows}).encode()
    bad = np.array([1, np.nan, 2], "<f4").tobytes()
    good = np.ones(3, "<f4").tobytes()
    status, reply = ask(
        f"/v2/models/{MIXER}/infer", head + bad + bad,
        Inference_Header_Content_Length=str(len(head)),
    )  # fmt: skip
    short, told = ask(
        f"/v2/models/{MIXER}/infer", head + good, Inference_Header_Content_Length=str(len(head))
    )

    assert (status, short) == (400, 400)
    assert "NaN" in reply["error"]
    assert "binary_data_size 12, expected 0 to 0" in told["error"]


@pytest.mark.parametrize(
    ("sizes", "sent", "told", "words"),
    [
        ((12, 12), 23, 0, "binary_data_size 12, expected 0 to 11"),
        ((12, 12), 25, 0, "1 bytes follow"),
        ((0, 24), 24, 0, "has 0 bytes, expected 12"),
        ((-1, 12), 24, 0, "binary_data_size -1"),
        ((1 << 70, 12), 24, 0, "binary_data_size 1180591620717411303424"),
        ((True, 12), 24, 0, "binary_data_size True"),
        ((12.0, 12), 24, 0, "binary_data_size 12.0"),
        (("12", 12), 24, 0, "binary_data_size '12'"),
        ((12, 12), 24, 1 << 60, "Inference-Header-Content-Length"),
        ((12, 12), 24, -5, "Inference-Header-Content-Length -5"),
    ],
)
def test_binary_sizes_that_lie_are_refused(
    ask: Any, sizes: tuple[Any, Any], sent: int, told: int, words: str
) -> None:
    rows = [
        {"name": name, "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": n}}
        for name, n in zip("ab", sizes, strict=True)
    ]
    head = json.dumps({"inputs": rows}).encode()
    status, reply = ask(
        f"/v2/models/{MIXER}/infer", head + bytes(sent),
        Inference_Header_Content_Length=str(told or len(head)),
    )  # fmt: skip

    assert status == 400
    assert words in reply["error"]


def test_a_compressed_request_is_refused_for_what_it_is(
    client: Any, headers: dict[str, str]
) -> None:
    given = triton.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"a"], object))

    with pytest.raises(triton.InferenceServerException, match='content encoding "gzip"') as caught:
        client.infer(
            "minilm", [given], headers=dict(headers), request_compression_algorithm="gzip"
        )
    assert caught.value.status() == "415"
    found = client.infer("minilm", [given], headers=headers, response_compression_algorithm="gzip")
    assert found.as_numpy("embedding").shape == (1, 384)


def test_head_is_a_get_without_its_body(address: str, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    lengths = []
    for method in ("GET", "HEAD", "GET"):  # the connection goes on
        connection.request(method, "/v2/health/live", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        lengths.append((answer.getheader("Content-Length"), len(answer.read())))
    connection.request("OPTIONS", "/v2/health/live", headers=headers)
    options = connection.getresponse()
    connection.close()

    assert lengths == [("13", 13), ("13", 0), ("13", 13)]
    assert (options.status, options.getheader("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", ["%E6%A8%A1%E5%9E%8B", "a%2Fb", "..", "x" * 300])
def test_a_model_of_any_name_is_unknown_in_this_protocols_shape(ask: Any, name: str) -> None:
    status, reply = ask(f"/v2/models/{name}/infer", tensor())

    assert status == 404
    assert list(reply) == ["error"]
    assert reply["error"].startswith("no ")


def test_unknown_paths_and_methods_have_this_protocols_shape(ask: Any) -> None:
    assert ask("/v2/nothing", {}) == (
        404,
        {"error": 'no route "/v2/nothing" (fix: stackctl doctor)'},
    )
    assert ask("/v2/health/live", {})[0] == 405


def test_numbers_typed_on_the_command_line_have_the_graphs_types(stack: Stack) -> None:
    done = stack.cli("models", "run", MIXER, "a=[[1, 2, 3]]", "b=[[3, 2, 2]]", "--json")
    wrong = stack.cli("models", "run", MIXER, "a=[[1, 2]]", "b=[[3, 2]]")
    fix = shlex.split(wrong.stderr.splitlines()[-1].removeprefix("fix: stackctl "))
    mended = stack.cli(*fix, "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["items"][0]["tensors"]["sum"]
    assert found["dtype"] == "<f4"
    assert "4.0,4.0,5.0" in json.dumps(found, separators=(",", ":"))
    assert wrong.returncode == 2
    assert "is [1, 2], expected [rows, 3]" in wrong.stderr
    assert mended.returncode == 0, mended.stderr
