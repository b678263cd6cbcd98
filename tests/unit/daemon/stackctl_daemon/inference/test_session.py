from __future__ import annotations

from pathlib import Path

from stackctl_daemon.inference.session import suited


def test_a_gpu_gets_the_padded_graph_where_there_is_one(tmp_path: Path) -> None:
    graph, padded = tmp_path / "graph-v2.onnx", tmp_path / "graph-v2.padded.onnx"
    graph.touch()
    padded.touch()

    assert suited(graph, "cuda") == padded
    assert suited(graph, "cpu") == graph


def test_a_graph_of_one_form_is_opened_anywhere(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.touch()

    assert suited(graph, "cuda") == graph
