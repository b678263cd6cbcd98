"""Pictures and texts in one space, on graphs of CLIP's shapes."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from repository import ROOT
from vision_graphs import COLOURS, PAD_ID, WIDTH, write_clip

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Adapter, Input, ModelSpec
from stackctl_daemon.inference.adapters.image_input import ImageInput
from stackctl_daemon.inference.session import DevicePolicy


def load(directory: Path, *, joint: bool = False, **changes: Any) -> Adapter:
    options: dict[str, Any] = {"pad_id": PAD_ID, "batch": 4}
    options |= {"joint": "model.onnx"} if joint else {}
    options |= changes.pop("options", {})
    fields = {"max_tokens": 77, "dimensions": WIDTH, **changes}
    spec = ModelSpec("tiny-clip", directory, options=options, **fields)
    return open_adapter("clip", spec, DevicePolicy("cpu").open)


def picture(colour: str) -> Input:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 240), colour if colour != "green" else (0, 255, 0)).save(buffer, "PNG")
    return Input(data=buffer.getvalue())


def rows(model: Adapter, inputs: list[Input]) -> np.ndarray:
    return np.stack(list(model.compute(model.prepare(inputs, {}))))  # type: ignore[arg-type]


@pytest.mark.parametrize("joint", [False, True])
def test_pictures_and_their_words_have_one_vector(tmp_path: Path, joint: bool) -> None:
    write_clip(tmp_path, joint=joint)
    model = load(tmp_path, joint=joint)

    texts = rows(model, [Input(text=colour) for colour in COLOURS])
    pictures = rows(model, [picture(colour) for colour in COLOURS])

    np.testing.assert_allclose(texts, pictures, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    assert (texts @ pictures.T).argmax(1).tolist() == [0, 1, 2]
    assert model.rows == WIDTH
    assert model.execution_provider == "CPUExecutionProvider"


def test_a_batch_may_hold_both_kinds(tmp_path: Path) -> None:
    write_clip(tmp_path, joint=False, kind=TensorProto.INT32)
    model = load(tmp_path)
    mixed = [Input(text="blue"), picture("red"), Input(text="red"), picture("blue")]

    found = rows(model, mixed)

    np.testing.assert_allclose(found[[0, 1]], found[[3, 2]], atol=1e-5)


def test_a_long_text_is_cut_to_the_window(tmp_path: Path) -> None:
    write_clip(tmp_path, joint=False)
    model = load(tmp_path)

    [unit] = model.prepare([Input(text="red " * 500)], {})

    assert (len(unit.payload), unit.truncated) == (77, True)
    assert np.isfinite(np.asarray(model.compute([unit])[0])).all()


@pytest.mark.parametrize(
    ("item", "got"),
    [
        (Input(data=b"not a picture"), "is not an image"),
        (Input(data=b""), "is empty"),
        (Input(tensors={}), "reads texts and pictures, not tensors"),
    ],
)
def test_bad_inputs_are_named(tmp_path: Path, item: Input, got: str) -> None:
    write_clip(tmp_path, joint=False)

    with pytest.raises(Invalid, match=got):
        load(tmp_path).prepare([item], {})


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"dimensions": 5}, "gave vectors of 8, its entry says 5"),
        ({"max_tokens": 0}, "expected its window"),
        ({"options": {"image_output": "vector"}}, 'no output "vector", it has image_embeds'),
        ({"options": {"vision": "text_model.onnx"}}, 'no input "pixel_values", it has input_ids'),
    ],
)
def test_an_entry_that_does_not_suit_its_files_is_refused(
    tmp_path: Path, changes: dict[str, Any], got: str
) -> None:
    write_clip(tmp_path, joint=False)

    with pytest.raises(Failed, match=got):
        rows(load(tmp_path, **changes), [Input(text="red")])


def test_the_entry_in_the_guide_is_sound() -> None:
    page = (ROOT / "docs" / "guide" / "vision-models.md").read_text()
    [block] = re.findall(r"```text\n(.*?)```", page, re.DOTALL)

    entry = msgspec.convert(tomllib.loads(block), ModelEntry)

    assert (entry.adapter, entry.dimensions, entry.max_tokens) == ("clip", 512, 77)
    ImageInput(entry.options, entry.name)
