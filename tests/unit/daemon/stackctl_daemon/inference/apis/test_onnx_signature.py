from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stackctl.errors import ModelCorrupt
from stackctl_daemon.inference.apis import onnx_signature
from stackctl_daemon.inference.apis.onnx_signature import Value


def write(file: Path) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "w"], ["b"])],
        "g",
        [value("a", TensorProto.FLOAT16, ["rows", 3, None]), value("w", TensorProto.FLOAT16, [3])],
        [value("b", TensorProto.FLOAT16, ["rows", 3, 300]), value("s", TensorProto.BOOL, [])],
        [numpy_helper.from_array(np.ones(3, np.float16), "w")],
    )
    onnx.save(helper.make_model(graph), str(file))
    return file.read_bytes()


def test_names_types_and_shapes_are_those_of_the_graph(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx")
    found = onnx_signature.read(tmp_path / "m.onnx")

    # The weight "w" is among the graph's inputs, as old exporters have it, and is none.
    assert found.inputs == [Value("a", "FP16", [-1, 3, -1])]
    assert found.outputs == [Value("b", "FP16", [-1, 3, 300]), Value("s", "BOOL", [])]


@pytest.mark.parametrize("data", [b"", b"x", b"\x3a\xff\xff", b"\xff" * 20])
def test_what_is_no_graph_is_corrupt(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(data)

    with pytest.raises(ModelCorrupt):
        onnx_signature.read(file)


@given(st.data())
def test_a_damaged_graph_is_read_or_corrupt(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("g") / "m.onnx"
    raw = bytearray(write(file))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)

    try:
        onnx_signature.read(file)
    except ModelCorrupt as err:
        assert str(file) in err.message
