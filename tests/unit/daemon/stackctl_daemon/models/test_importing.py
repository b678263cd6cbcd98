from __future__ import annotations

import json
from pathlib import Path

import pytest

from stackctl.contracts.model import ModelEntry, ModelImport
from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters import ADAPTERS
from stackctl_daemon.models.importing import TASKS
from stackctl_daemon.models.store import Store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"a graph")
    return folder


def take(source: Path, *, licence: str = "unknown") -> ModelEntry:
    store = Store(source.parent / "models")
    store.set_aside("mine")
    entry = store.take(ModelImport(name="mine", path=str(source), licence=licence))
    assert store.imported() == ({"mine": entry}, {})
    assert store.verify(entry) == []
    return entry


def test_a_graph_by_itself_is_asked_with_its_tensors(source: Path) -> None:
    (source / "model.onnx_data").write_bytes(b"weights")
    (source / "notes.txt").write_text("mine")

    entry = take(source)

    assert (entry.task, entry.adapter, entry.architecture) == ("tensor", "tensor-graph", "onnx")
    assert [file.name for file in entry.files] == ["model.onnx", "model.onnx_data"]


def test_a_graph_with_a_tokenizer_is_a_sentence_encoder(source: Path) -> None:
    (source / "tokenizer.json").write_text("{}")
    (source / "config.json").write_text(
        json.dumps({"hidden_size": 4, "max_position_embeddings": 1024})
    )

    entry = take(source, licence="MIT")

    assert (entry.task, entry.adapter) == ("embedding", "text-embedding")
    assert (entry.dimensions, entry.max_tokens, entry.licence) == (4, 512, "MIT")


def test_an_entry_beside_it_says_how_it_is_read(source: Path) -> None:
    (source / "labels.txt").write_text("cat\ndog\n")
    (source / "entry.toml").write_text(
        'adapter = "image-classification"\nlicence = "BSD"\naliases = ["pets"]\n'
        '[options]\nlabels_file = "labels.txt"\nmean = [0.5, 0.5, 0.5]\n'
    )

    entry = take(source)

    assert (entry.task, entry.architecture) == ("image-classification", "onnx")
    assert entry.options == {"labels_file": "labels.txt", "mean": [0.5, 0.5, 0.5]}
    assert (entry.licence, entry.aliases) == ("BSD", ["pets"])
    assert [file.name for file in entry.files] == ["labels.txt", "model.onnx"]
    assert take(source, licence="MIT").licence == "MIT"


def test_an_entry_says_how_many_replicas_and_not_too_many(source: Path) -> None:
    (source / "entry.toml").write_text('adapter = "tensor-graph"\nreplicas = 4\n')
    assert take(source).replicas == 4

    (source / "entry.toml").write_text('adapter = "tensor-graph"\nreplicas = 65\n')
    with pytest.raises(Invalid, match=r"entry\.toml.*<= 64.*replicas"):
        take(source)


def test_an_entry_of_several_graphs_leaves_them_to_its_adapter(source: Path) -> None:
    (source / "other.onnx").write_bytes(b"another graph")
    (source / "entry.toml").write_text('adapter = "ocr"\n[[files]]\nname = "other.onnx"\n')
    named = take(source)
    (source / "entry.toml").write_text('adapter = "ocr"\n')

    assert (named.architecture, [f.name for f in named.files]) == ("onnx", ["other.onnx"])
    assert take(source).architecture == "files"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("adapter = ", "Invalid value"),
        ('adapter = "magic"', "known: text-embedding, "),
        ("[options]", "missing required field `adapter`"),
        ('adapter = "ocr"\nbatch = 2', "unknown field `batch`"),
        ('adapter = "ocr"\ntask = "reading"', "reading"),
        ('adapter = "ocr"\narchitecture = "torch"', "torch"),
        ('adapter = "ocr"\n[[files]]\nname = "x.onnx"', "has no x.onnx"),
        ('adapter = "cross-encoder"', "needs hidden_size"),
    ],
)
def test_an_entry_that_is_wrong_leaves_nothing_behind(
    source: Path, text: str, problem: str
) -> None:
    (source / "entry.toml").write_text(text)

    with pytest.raises(Invalid, match=problem) as caught:
        take(source)

    assert caught.value.hint
    root = source.parent / "models"
    assert not root.exists() or list(root.iterdir()) == []


def test_two_graphs_need_an_entry(source: Path) -> None:
    (source / "model.onnx").rename(source / "a.onnx")
    assert take(source).files[0].name == "a.onnx"
    (source / "b.onnx").write_bytes(b"another graph")

    with pytest.raises(Invalid, match=r"2 graphs, a\.onnx, b\.onnx") as caught:
        take(source)

    assert caught.value.hint == f"${{EDITOR:-vi}} {source}/entry.toml"


def test_every_adapter_has_a_task() -> None:
    assert sorted(TASKS) == sorted(ADAPTERS)


def test_an_alias_of_another_model_is_not_taken(source: Path) -> None:
    (source / "entry.toml").write_text(
        'adapter = "tensor-graph"\naliases = ["Own", "Whisper-1"]\n'
    )
    store = Store(source.parent / "models")
    request = ModelImport(name="mine", path=str(source))

    taken: list[str] = []
    claimed = {"own": "mine:2", "whisper-1": "whisper"}
    entry = store.take(request, claimed, on_taken=taken.append)

    assert (entry.aliases, taken) == (["Own"], ["Whisper-1"])
    assert store.imported() == ({"mine": entry}, {})


@pytest.mark.parametrize("alias", ["../x", "a/b/c", "", "a b", "/etc"])
def test_an_alias_is_a_name(source: Path, alias: str) -> None:
    (source / "entry.toml").write_text(f'adapter = "tensor-graph"\naliases = ["{alias}"]\n')

    with pytest.raises(Invalid, match="is not a name"):
        Store(source.parent / "models").take(ModelImport(name="mine", path=str(source)))
