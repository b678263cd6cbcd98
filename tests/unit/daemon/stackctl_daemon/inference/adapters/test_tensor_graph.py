from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input, ModelSpec, Session
from stackctl_daemon.inference.adapters.tensor_graph import TensorGraph
from stackctl_daemon.inference.session import DevicePolicy

RUNS: list[int] = []


class Counting:
    """Keeps the rows of each run of a real session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.execution_provider = session.execution_provider
        self.inputs, self.outputs = session.inputs, session.outputs
        self.metadata = session.metadata

    def run(self, outputs: Any, feed: Any) -> Any:
        RUNS.append(len(feed["a"]))
        return self._session.run(outputs, feed)


def open_counting(graph: Path, *, outputs: Any = None) -> Session:
    return Counting(DevicePolicy("cpu").open(graph, outputs=outputs))


def model(directory: Path, *, rows: int | str = "n", mixes: bool = False, **options: Any) -> Any:
    """``sum = a + b``; ``flags = a > b``; where it mixes, ``sum`` is over the rows."""
    node = helper.make_node
    last = node("Identity", ["inner"], ["sum"])
    if mixes:
        last = node("ReduceSum", ["inner"], ["sum"], keepdims=0)
    nodes = [
        node("Add", ["a", "b"], ["inner"]),
        last,
        node("Greater", ["a", "b"], ["flags"]),
    ]
    shape = [rows, 2]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [] if mixes else shape),
            helper.make_tensor_value_info("flags", TensorProto.BOOL, shape),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, str(directory / "model.onnx"))
    spec = ModelSpec("sums", directory, directory / "model.onnx", options=options)
    RUNS.clear()
    return TensorGraph(spec, open_counting)


def pair(rows: int, value: float = 1.0) -> Input:
    tensor = np.full((rows, 2), value, np.float32)
    return Input(tensors={"a": tensor, "b": tensor * 2})


def test_every_output_is_given_by_name(tmp_path: Path) -> None:
    made = model(tmp_path)

    [found] = made.compute(made.prepare([pair(3)], {}))

    assert list(found.tensors) == ["sum", "flags"]
    np.testing.assert_array_equal(found.tensors["sum"], np.full((3, 2), 3, np.float32))
    assert found.tensors["flags"].dtype == np.bool_
    assert made.execution_provider == "CPUExecutionProvider"


def test_only_the_outputs_asked_for_are_computed(tmp_path: Path) -> None:
    made = model(tmp_path)

    [found] = made.compute(made.prepare([pair(1)], {"outputs": ["flags", "flags"]}))

    assert list(found.tensors) == ["flags"]


def test_values_inside_the_graph_can_be_tapped(tmp_path: Path) -> None:
    made = model(tmp_path, taps=["inner"])

    [found] = made.compute(made.prepare([pair(1)], {"outputs": ["inner"]}))

    np.testing.assert_array_equal(found.tensors["inner"], np.full((1, 2), 3, np.float32))


def test_requests_go_together_where_the_entry_says_so(tmp_path: Path) -> None:
    made = model(tmp_path, batch=8)
    units = made.prepare([pair(2, 1), pair(1, 2), pair(0), pair(3, 4)], {})
    units += made.prepare([pair(1, 5)], {"outputs": ["sum"]})

    found = made.compute(units)

    assert [unit.cost for unit in units] == [2, 1, 1, 3, 1]
    assert [result.tensors["sum"].tolist() for result in found] == [
        [[3.0, 3.0]] * 2,
        [[6.0, 6.0]],
        [],
        [[12.0, 12.0]] * 3,
        [[15.0, 15.0]],
    ]
    assert "flags" not in found[4].tensors
    assert made.budget(512) == 8
    assert sorted(RUNS) == [0, 1, 6]


def test_by_default_each_request_goes_alone(tmp_path: Path) -> None:
    made = model(tmp_path)

    made.compute(made.prepare([pair(2), pair(1)], {}))

    assert (made.budget(512), sorted(RUNS)) == (1, [1, 2])


def test_a_graph_of_fixed_rows_is_never_batched(tmp_path: Path) -> None:
    made = model(tmp_path, rows=2, batch=8)

    assert made.budget(512) == 1
    made.compute(made.prepare([pair(2), pair(2)], {}))
    assert RUNS == [2, 2]


def test_a_graph_that_mixes_rows_is_found_out(tmp_path: Path) -> None:
    made = model(tmp_path, mixes=True, batch=8)

    with pytest.raises(Failed, match=r'gave "sum" of \[\] for 2 rows; its entry says "batch"'):
        made.compute(made.prepare([pair(1), pair(1)], {}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Input(text="x"), "reads tensors: a, b"),
        (Input(tensors={"a": np.ones((1, 2), "f4")}), 'lacks "b", expected a, b'),
        (Input(tensors={**(pair(1).tensors or {}), "c": np.ones(1)}), 'has "c", expected a, b'),
        (Input(tensors={"a": np.ones((1, 2)), "b": np.ones((1, 2))}), "float64, expected float32"),
        (
            Input(tensors={"a": np.ones((1, 3), "f4"), "b": np.ones((1, 2), "f4")}),
            r'"a" of input 0 is \[1, 3\], expected \[n, 2\]',
        ),
        (
            Input(tensors={"a": np.ones(2, "f4"), "b": np.ones((1, 2), "f4")}),
            r"is \[2\], expected \[n, 2\]",
        ),
    ],
)
def test_tensors_that_do_not_suit_the_graph_are_named(
    tmp_path: Path, given: Input, said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        model(tmp_path).prepare([given], {})


@pytest.mark.parametrize("outputs", [["nothing"], [], "sum"])
def test_outputs_that_are_not_there_are_named(tmp_path: Path, outputs: Any) -> None:
    with pytest.raises(Invalid, match="expected"):
        model(tmp_path).prepare([pair(1)], {"outputs": outputs})


def test_rows_that_do_not_agree_are_the_graphs_to_refuse(tmp_path: Path) -> None:
    made = model(tmp_path, batch=8)
    wrong = Input(tensors={"a": np.ones((2, 2), "f4"), "b": np.ones((3, 2), "f4")})

    [unit] = made.prepare([wrong], {})

    assert unit.payload.rows == 0
    with pytest.raises(Failed, match="ONNX Runtime"):
        made.compute([unit])
