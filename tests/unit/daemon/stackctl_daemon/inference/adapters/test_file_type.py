"""The rules around the model, on a graph that reads nothing but the first byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from vision_graphs import save

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Adapter, Input, ModelSpec
from stackctl_daemon.inference.session import DevicePolicy

CONFIG = {
    "beg_size": 16, "mid_size": 0, "end_size": 8, "use_inputs_at_offsets": False,
    "medium_confidence_threshold": 0.5, "min_file_size_for_dl": 8, "padding_token": 256,
    "block_size": 64, "target_labels_space": ["png", "python", "randomtxt"],
    "thresholds": {"python": 0.9}, "overwrite_map": {"randomtxt": "txt"},
}  # fmt: skip
TYPES = {
    "png": {"mime_type": "image/png", "group": "image", "description": "PNG", "is_text": False},
    "python": {"mime_type": None, "group": "code", "description": "Python", "is_text": True},
    "txt": {"mime_type": None, "group": "text", "description": None, "is_text": True},
    "unknown": {"mime_type": None, "group": None, "description": None, "is_text": False},
}
ROWS = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.85, 0.05], [0, 0.95, 0.05],
                 [0.1, 0.1, 0.8]], np.float32)  # fmt: skip
"""What the model says of a file that begins with A, B, C, D and E."""


def load(directory: Path, **changes: Any) -> Adapter:
    table = np.zeros((257, 3), np.float32)
    table[65:70] = ROWS
    nodes = [
        helper.make_node("Gather", ["bytes", "zero"], ["first"], axis=1),
        helper.make_node("Gather", ["table", "first"], ["target_label"]),
    ]
    inputs: dict[str, tuple[int, list[object]]] = {"bytes": (TensorProto.INT32, ["files", 24])}
    values: dict[str, np.ndarray] = {"zero": np.array(0, np.int64), "table": table}
    graph = save(directory / "model.onnx", nodes, inputs, {"target_label": ["files", 3]}, values)
    (directory / "config.min.json").write_text(json.dumps(CONFIG | changes))
    (directory / "content_types_kb.min.json").write_text(json.dumps(TYPES))
    spec = ModelSpec("types", directory, graph)
    return open_adapter("file-type", spec, DevicePolicy("cpu").open)


def labels(model: Adapter, *files: bytes) -> list[str]:
    units = model.prepare([Input(data=data) for data in files], {})
    return [result.value["label"] for result in model.compute(units)]  # type: ignore[union-attr]


def test_thresholds_and_the_overwrite_map_decide(tmp_path: Path) -> None:
    files = [letter * 30 for letter in (b"A", b"B", b"C", b"D", b"E")]

    assert labels(load(tmp_path), *files) == ["png", "txt", "txt", "python", "txt"]


def test_few_bytes_are_told_without_the_model(tmp_path: Path) -> None:
    files = [b"", b"AAA", b"\xff\xfe", b" \n" * 40, b" " * 40 + b"AAAA", b"A" * 8]

    assert labels(load(tmp_path), *files) == ["empty", "txt", "unknown", "txt", "txt", "png"]


def test_both_ends_go_in_without_their_white_space(tmp_path: Path) -> None:
    model = load(tmp_path)
    data = b"\n  ABCDEFGHIJ" + b"x" * 100 + b"tail \n"

    [unit] = model.prepare([Input(data=data)], {})
    [short] = model.prepare([Input(data=b"ABCDEFGHIJ\n")], {})

    assert bytes(unit.payload.tolist()) == b"ABCDEFGHIJxxxxxx" + b"xxxxtail"
    assert short.payload.tolist() == [*b"ABCDEFGHIJ\n", *[256] * 5, *b"CDEFGHIJ"]


def test_what_is_known_of_a_type_comes_with_it(tmp_path: Path) -> None:
    model = load(tmp_path)

    [result] = model.compute(model.prepare([Input(data=b"D" * 30)], {}))

    assert result.value == {  # type: ignore[union-attr]
        "label": "python", "mime": "text/plain", "group": "code", "description": "Python",
        "text": True, "score": pytest.approx(0.95),
    }  # fmt: skip


def test_bad_requests_are_named(tmp_path: Path) -> None:
    model = load(tmp_path)

    with pytest.raises(Invalid, match="input 0 is tensors, expected the bytes of a file"):
        model.prepare([Input(tensors={})], {})
    with pytest.raises(Invalid, match='no option "mode"'):
        model.prepare([Input(data=b"A")], {"mode": "guess"})


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"mid_size": 512}, "reads the middle of a file"),
        ({"beg_size": "many"}, "config.min.json is not what it should be"),
        ({"target_labels_space": ["png"]}, "gave 3 scores, its config has 1 labels"),
    ],
)
def test_a_config_that_does_not_suit_is_refused(
    tmp_path: Path, changes: dict[str, Any], got: str
) -> None:
    with pytest.raises(Failed, match=got):
        labels(load(tmp_path, **changes), b"A" * 30)
