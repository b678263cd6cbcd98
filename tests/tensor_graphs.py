"""Graphs that answer with as much, or take as long, as they are asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stackctl_daemon.inference import protocol as wire


def filling(directory: Path, *, name: str = "filling") -> wire.Load:
    """Write a graph that gives ones in the shape that it takes as ``n``."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["y"], value=one)]
    return _written(directory, name, nodes, [])


def counting(directory: Path, *, name: str = "counting") -> wire.Load:
    """Write a graph that computes ``n[0]`` steps one after another, of some microseconds each."""
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["go_on"]),
            helper.make_node("Add", ["had", "had"], ["sum"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("had", TensorProto.FLOAT, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["n"], ["steps"], keepdims=0),
        helper.make_node("Loop", ["steps", "true", "start"], ["y"], body=step),
    ]
    constants = [
        numpy_helper.from_array(np.array(True), "true"),
        numpy_helper.from_array(np.ones((1, 1), np.float32), "start"),
    ]
    return _written(directory, name, nodes, constants)


def _written(
    directory: Path, name: str, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> wire.Load:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("n", TensorProto.INT64, ["axes"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])],
        constants,
    )
    file = directory / f"{name}.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(file))
    return wire.Load(f"{name}@1", name, "tensor-graph", str(directory), str(file), "", 0, 0)
