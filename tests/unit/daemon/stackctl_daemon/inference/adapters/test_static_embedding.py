from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TABLE, WIDTH, write_tokenizer

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.static_embedding import StaticEmbedding, map_table
from stackctl_daemon.inference.session import DevicePolicy

ROWS = 6  # words of the tiny tokenizer
FULL = np.concatenate([TABLE, np.ones((1, WIDTH), np.float32)])


def write_table(file: Path, table: np.ndarray, dtype: str = "F32", cut: int = 0) -> Path:
    data = table.astype({"F32": "<f4", "F16": "<f2"}.get(dtype, "<f4")).tobytes()
    item = {"dtype": dtype, "shape": list(table.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"embedding.weight": item}).encode()
    file.write_bytes((struct.pack("<Q", len(header)) + header + data)[: -cut or None])
    return file


def model(directory: Path, table: np.ndarray = FULL, dtype: str = "F32") -> StaticEmbedding:
    write_table(directory / "model.safetensors", table, dtype)
    spec = ModelSpec(
        "tiny", directory, None, write_tokenizer(directory), 8, WIDTH, {"matryoshka": [2]}
    )
    return StaticEmbedding(spec, DevicePolicy("cpu").open)


@pytest.mark.parametrize(("dtype", "atol"), [("F32", 1e-6), ("F16", 2e-3)])
def test_a_text_is_the_mean_of_its_rows_at_length_one(
    tmp_path: Path, dtype: str, atol: float
) -> None:
    made = model(tmp_path, dtype=dtype)
    texts = [Input(text="river copper"), Input(text=""), Input(text="orchard")]

    found = made.compute(made.prepare(texts, {}))

    means = np.stack([TABLE[[1, 2]].mean(0), TABLE[4]])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(found[0], expected[0], atol=atol)
    np.testing.assert_allclose(found[2], expected[1], atol=atol)
    assert not np.any(found[1])
    assert made.execution_provider == "numpy"


def test_a_batch_of_nothing_but_empty_texts_is_zeros(tmp_path: Path) -> None:
    made = model(tmp_path)

    found = made.compute(made.prepare([Input(text="")] * 2, {"dimensions": 2}))

    assert [list(row) for row in found] == [[0, 0], [0, 0]]


def test_a_table_of_another_size_than_the_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"table of \[5, 4\].*say \[6, 4\]"):
        model(tmp_path, TABLE)


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    made = model(tmp_path, np.full((ROWS, WIDTH), np.nan))

    with pytest.raises(Failed, match="not finite"):
        made.compute(made.prepare([Input(text="river")], {}))


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    short = write_table(tmp_path / "short", FULL, cut=8)
    kind = write_table(tmp_path / "kind", FULL, "I8")
    (tmp_path / "empty").write_bytes(b"")

    for file in (short, kind, tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(Failed, match=f"{file.name} is not a table of vectors"):
            map_table(file, "embedding.weight")
    with pytest.raises(Failed, match=r'no tensor "other", it has embedding\.weight'):
        map_table(write_table(tmp_path / "sound", FULL), "other")
