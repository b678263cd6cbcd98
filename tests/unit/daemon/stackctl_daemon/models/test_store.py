from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from stackctl.contracts.model import ModelEntry, ModelImport
from stackctl.errors import Invalid
from stackctl_daemon.models.store import Store

CONFIG = {
    "model_type": "bert",
    "hidden_size": 4,
    "num_attention_heads": 2,
    "num_hidden_layers": 0,
    "max_position_embeddings": 8,
}
SHAPES = {
    "embeddings.word_embeddings.weight": [5, 4],
    "embeddings.position_embeddings.weight": [8, 4],
    "embeddings.token_type_embeddings.weight": [2, 4],
    "embeddings.LayerNorm.weight": [4],
    "embeddings.LayerNorm.bias": [4],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    header, end = {}, 0
    for name, shape in SHAPES.items():
        start, end = end, end + 16 * (shape[0] if len(shape) == 2 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(end)
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _imported(root: Path, source: Path) -> tuple[Store, ModelEntry]:
    store = Store(root)
    return store, store.take(ModelImport(name="small", path=str(source), licence="MIT"))


def test_a_damaged_graph_is_reported_and_made_anew(tmp_path: Path, source: Path) -> None:
    store, entry = _imported(tmp_path / "models", source)
    graph = store.ready(entry).graph
    good = graph.read_bytes()
    graph.write_bytes(b"garbage")

    assert "graph-v2.onnx is not what" in store.verify(entry)[0]
    assert store.ready(entry).graph.read_bytes() == good
    assert store.verify(entry) == []


def test_damage_that_keeps_size_and_time_is_seen_by_the_next_process(
    tmp_path: Path, source: Path
) -> None:
    store, entry = _imported(tmp_path / "models", source)
    graph = store.ready(entry).graph
    good, stat = graph.read_bytes(), graph.stat()
    graph.write_bytes(b"x" * len(good))
    os.utime(graph, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert Store(tmp_path / "models").ready(entry).graph.read_bytes() == good


def test_a_sound_graph_is_not_written_again(tmp_path: Path, source: Path) -> None:
    store, entry = _imported(tmp_path / "models", source)
    before = store.ready(entry).graph.stat()

    after = Store(tmp_path / "models").ready(entry).graph.stat()

    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_graph_not_yet_built_is_no_problem(tmp_path: Path, source: Path) -> None:
    store, entry = _imported(tmp_path / "models", source)
    (store.directory("small") / "graph-v2.onnx").unlink()

    assert store.verify(entry) == []
    assert store.ready(entry).graph.exists()


def test_a_folder_without_a_model_is_told_where_to_look(tmp_path: Path, source: Path) -> None:
    def refused(folder: Path) -> Invalid:
        with pytest.raises(Invalid) as caught:
            _imported(tmp_path / "models", folder)
        return caught.value

    empty = tmp_path / "my models"
    empty.mkdir()
    bare = refused(empty)
    source = source.rename(empty / "small")
    beside = refused(empty)
    (source / "tokenizer.json").unlink()
    without = refused(source)

    assert bare.message.startswith(f"{empty} has neither model.safetensors nor model.onnx")
    assert bare.hint == f"ls -la '{empty}'"
    assert beside.hint == f"stackctl models import small '{source}'"
    assert without.message.startswith(f"{source} has no tokenizer.json, expected")
    assert without.hint == f"ls -la '{source}'"
    assert refused(source / "config.json").hint == f"ls -la '{source}'"
