from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from stackctl.contracts.model import ModelEntry, ModelImport
from stackctl.errors import Conflict, Invalid, ModelCorrupt
from stackctl_daemon.models.store import Store
from stackctl_daemon.models.sweeping import export_staging


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def entry(tmp_path: Path, store: Store) -> ModelEntry:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"a graph" * 1000)
    (folder / "labels.txt").write_text("cat\n")
    (folder / "entry.toml").write_text(
        'adapter = "tensor-graph"\nmax_queued = 7\ntimeout_s = 2.5\nlicence = "MIT"\n'
        '[options]\ntaps = ["a b", "c"]\n'
    )
    return store.take(ModelImport(name="mine", path=str(folder)))


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_what_is_exported_is_imported_byte_for_byte(
    tmp_path: Path, store: Store, entry: ModelEntry, name: str
) -> None:
    store.export(entry, tmp_path / name)
    there = Store(tmp_path / "there")
    taken = there.take(ModelImport(name="mine", path=str(tmp_path / name)))

    assert there.verify(taken) == []
    assert [(f.name, f.sha256, f.size_bytes) for f in taken.files] == [
        (f.name, f.sha256, f.size_bytes) for f in entry.files
    ]
    for field in ("adapter", "task", "options", "licence", "summary", "max_queued", "timeout_s"):
        assert getattr(taken, field) == getattr(entry, field)
    assert (taken.max_queued, taken.timeout_s) == (7, 2.5)


def test_the_same_model_makes_the_same_tar(
    tmp_path: Path, store: Store, entry: ModelEntry
) -> None:
    store.export(entry, tmp_path / "a.tar")
    store.export(entry, tmp_path / "b.tar")

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["mine/entry.toml", "mine/labels.txt", "mine/model.onnx"]


def test_nothing_is_overwritten(tmp_path: Path, store: Store, entry: ModelEntry) -> None:
    for name in ("out", "out.tar"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Conflict, match="exists"):
            store.export(entry, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "link"):
        with pytest.raises(Conflict, match="exists"):
            store.export(entry, tmp_path / name)


def test_a_damaged_model_is_not_exported(tmp_path: Path, store: Store, entry: ModelEntry) -> None:
    file = store.directory("mine") / "model.onnx"
    file.write_bytes(b"x" * file.stat().st_size)

    with pytest.raises(ModelCorrupt):
        store.export(entry, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_damage_that_keeps_size_and_time_is_found_in_what_was_written(
    tmp_path: Path, store: Store, entry: ModelEntry
) -> None:
    import os

    store.verify(entry)  # its hashes are known from now on
    file = store.directory("mine") / "model.onnx"
    stat = file.stat()
    file.write_bytes(b"x" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    for name in ("out", "out.tar"):
        with pytest.raises(ModelCorrupt, match="was written with sha256"):
            store.export(entry, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "source"]


def test_a_place_that_cannot_be_is_said(tmp_path: Path, store: Store, entry: ModelEntry) -> None:
    with pytest.raises(Invalid, match="cannot be made: No such file") as caught:
        store.export(entry, tmp_path / "nowhere" / "out.tar")

    assert caught.value.hint == f"ls -lad {tmp_path / 'nowhere'}"


@pytest.mark.parametrize("name", ["out.tar.gz", "out.tgz", "out.tar.xz", "out.zip"])
def test_a_packed_target_is_told_to_be_plain(
    tmp_path: Path, store: Store, entry: ModelEntry, name: str
) -> None:
    with pytest.raises(Invalid, match=r"expected a folder or a plain \.tar") as caught:
        store.export(entry, tmp_path / name)

    assert caught.value.hint == f"stackctl models export mine {tmp_path / 'out.tar'}"
    assert not (tmp_path / name).exists()


def test_the_store_itself_is_no_target(tmp_path: Path, store: Store, entry: ModelEntry) -> None:
    (tmp_path / "link").symlink_to(store.root)
    for target in (store.root / "other", tmp_path / "link" / "other", store.root / "mine" / "x"):
        with pytest.raises(Invalid, match="where the models themselves are"):
            store.export(entry, target)
    assert [path.name for path in store.root.iterdir()] == ["mine"]


def test_what_a_killed_export_left_is_swept_and_one_in_use_is_not(
    tmp_path: Path, store: Store, entry: ModelEntry
) -> None:
    left, others = tmp_path / ".stackctl-export-abcd1234", tmp_path / ".stackctl-export-zyxw9876"
    for folder, inside in ((left, "whole"), (others, "notes")):
        folder.mkdir()
        (folder / inside).write_text("x")
    with export_staging(tmp_path) as used:
        store.export(entry, tmp_path / "out")
        assert used.exists()

    assert not left.exists()
    assert not used.exists()
    assert (others / "notes").exists()
