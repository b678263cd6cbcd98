"""Classes and vectors of pictures, on a graph that gives the mean of each channel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vision_graphs import write_means

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Adapter, Input, ModelSpec
from stackctl_daemon.inference.session import DevicePolicy

COLOUR = (255, 0, 51)


def load(directory: Path, adapter: str, *, nhwc: bool = False, **options: Any) -> Adapter:
    graph = write_means(directory / "model.onnx", nhwc=nhwc)
    width = int(options.pop("dimensions", 3))
    options = {"size": 8, **options}
    spec = ModelSpec("means", directory, graph, dimensions=width, options=options)
    return open_adapter(adapter, spec, DevicePolicy("cpu").open)


def png(picture: Image.Image) -> Input:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Input(data=buffer.getvalue())


def run(model: Adapter, picture: Image.Image, **options: Any) -> Any:
    [found] = model.compute(model.prepare([png(picture)], options))
    return found


def test_classes_come_with_the_likeliest_first(tmp_path: Path) -> None:
    model = load(tmp_path, "image-classification", labels=["red", "green", "blue"], top_k=2)

    value = run(model, Image.new("RGB", (20, 10), COLOUR)).value

    assert value == {
        "label": "red",
        "score": pytest.approx(1.0),
        "labels": [
            {"label": "red", "score": pytest.approx(1.0)},
            {"label": "blue", "score": pytest.approx(0.2)},
        ],
    }
    assert len(run(model, Image.new("RGB", (20, 10)), top_k=3).value["labels"]) == 3


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("softmax", [0.5571, 0.2049, 0.2503]), ("sigmoid", [0.7311, 0.5, 0.5498])],
)
def test_activations(tmp_path: Path, activation: str, expected: list[float]) -> None:
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    model = load(tmp_path, "image-classification", labels_file="names.txt", activation=activation)

    labels = run(model, Image.new("RGB", (9, 9), COLOUR)).value["labels"]

    raised = np.exp([1.0, 0.0, 0.2])
    wanted = raised / raised.sum() if activation == "softmax" else np.array(expected)
    told = {item["label"]: item["score"] for item in labels}
    assert [told[n] for n in ("red", "green", "blue")] == pytest.approx(list(wanted), abs=1e-4)


@pytest.mark.parametrize("nhwc", [False, True])
def test_layout_order_mean_and_std_are_options(tmp_path: Path, nhwc: bool) -> None:
    model = load(
        tmp_path, "image-embedding", nhwc=nhwc, layout="nhwc" if nhwc else "nchw",
        channels="bgr", scale=1.0, mean=[1, 2, 3], std=[1.0, 2.0, 4.0],
    )  # fmt: skip

    found = run(model, Image.new("RGB", (9, 9), COLOUR))

    wanted = np.array([51 - 1, (0 - 2) / 2, (255 - 3) / 4])
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_value_inside_the_graph_can_be_the_vector(tmp_path: Path) -> None:
    model = load(tmp_path, "image-embedding", tap="hidden")

    found = run(model, Image.new("RGB", (9, 9), COLOUR))

    assert model.rows == 3
    np.testing.assert_allclose(found, np.array([1, 0, 0.2]) / np.sqrt(1.04), atol=1e-5)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [("crop", [1, 0, 0]), ("squash", [0.7071, 0.7071, 0]), ("pad", [0.7071, 0.7071, 0])],
)
def test_what_is_kept_of_a_long_picture(
    tmp_path: Path, resize: str, expected: list[float]
) -> None:
    """Red in the middle half, green at both ends."""
    picture = Image.new("RGB", (32, 8), (0, 255, 0))
    picture.paste((255, 0, 0), (8, 0, 24, 8))
    model = load(tmp_path, "image-embedding", resize=resize, resample="box")

    np.testing.assert_allclose(run(model, picture), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("adapter", "options", "got"),
    [
        ("image-embedding", {"resize": "stretch"}, 'resize = "stretch", known: crop, squash, pad'),
        ("image-embedding", {"size": [1, 2, 3]}, "expected a number of pixels or"),
        ("image-embedding", {"output": "vector"}, 'no output "vector", it has scores'),
        ("image-embedding", {"dimensions": 7}, "gave vectors of 3, its entry says 7"),
        ("image-classification", {"labels": ["a"]}, "gave 3 scores, its entry has 1 labels"),
        ("image-classification", {"labels_file": "none.txt"}, "no labels in"),
        ("image-classification", {"activation": "tanh"}, "known: none, softmax, sigmoid"),
    ],
)
def test_an_entry_that_does_not_suit_its_files_is_refused(
    tmp_path: Path, adapter: str, options: dict[str, Any], got: str
) -> None:
    with pytest.raises(Failed, match=got):
        run(load(tmp_path, adapter, **options), Image.new("RGB", (9, 9)))


def test_bad_options_of_a_request_are_named(tmp_path: Path) -> None:
    model = load(tmp_path, "image-classification")

    with pytest.raises(Invalid, match='option "top_k" is 0'):
        run(model, Image.new("RGB", (9, 9)), top_k=0)
    with pytest.raises(Invalid, match='no option "topk"'):
        run(model, Image.new("RGB", (9, 9)), topk=1)
