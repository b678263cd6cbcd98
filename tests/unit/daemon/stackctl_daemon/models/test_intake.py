from __future__ import annotations

import io
import os
import tarfile
import threading
import tracemalloc
from pathlib import Path

import pytest

from stackctl.contracts.model import ModelEntry, ModelImport
from stackctl.errors import Conflict, DiskFull, Invalid
from stackctl_daemon.models import intake
from stackctl_daemon.models.store import Store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"a graph")
    (folder / "labels.txt").write_text("cat\ndog\n")
    (folder / "entry.toml").write_text('adapter = "tensor-graph"\n')
    return folder


def take(source: Path) -> tuple[Path, ModelEntry]:
    store = Store(source.parent / "models")
    entry = store.take(ModelImport(name="mine", path=str(source)))
    return store.directory("mine"), entry


def refused(source: Path, kind: type[Exception] = Invalid) -> str:
    """Give the words of an import that fails and leaves nothing behind."""
    with pytest.raises(kind) as caught:
        take(source)
    assert list((source.parent / "models").iterdir()) == []
    assert getattr(caught.value, "hint", "")
    return str(getattr(caught.value, "message", ""))


def test_copied_files_are_their_owners_alone(source: Path) -> None:
    (source / "model.onnx").chmod(0o644)
    folder, _ = take(source)

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_link_within_the_folder_is_followed(source: Path) -> None:
    (source / "blobs").mkdir()
    (source / "model.onnx").rename(source / "blobs" / "1")
    (source / "model.onnx").symlink_to("blobs/1")
    folder, _ = take(source)

    assert (folder / "model.onnx").read_bytes() == b"a graph"
    assert not (folder / "model.onnx").is_symlink()


def test_a_folder_that_is_named_by_a_link_is_taken(source: Path) -> None:
    (source.parent / "link").symlink_to(source)

    assert take(source.parent / "link")[1].name == "mine"


@pytest.mark.parametrize("name", ["model.onnx", "entry.toml", "labels.txt"])
def test_a_link_out_of_the_folder_is_refused(source: Path, name: str) -> None:
    secret = source.parent / "secret"
    secret.write_text("a secret")
    (source / name).unlink()
    (source / name).symlink_to(secret)

    assert f"{source / name} leads out of the folder, to {secret}" in refused(source)


def test_a_link_by_a_folder_that_leads_out_is_refused(source: Path) -> None:
    outside = source.parent / "outside"
    outside.mkdir()
    (outside / "model.onnx").write_bytes(b"secret")
    (source / "sub").symlink_to(outside)
    (source / "model.onnx").unlink()
    (source / "model.onnx").symlink_to("sub/model.onnx")

    assert "leads out of the folder" in refused(source)


def test_a_link_to_nothing_and_one_in_circles_are_named(source: Path) -> None:
    (source / "labels.txt").unlink()
    (source / "labels.txt").symlink_to("nowhere")
    assert f"{source / 'labels.txt'} leads to nothing" in refused(source)
    (source / "labels.txt").unlink()
    (source / "labels.txt").symlink_to("labels.txt")
    assert "lead in circles" in refused(source)


def test_a_pipe_and_a_device_are_named_and_not_waited_for(source: Path) -> None:
    (source / "labels.txt").unlink()
    os.mkfifo(source / "labels.txt")
    assert "labels.txt is a pipe, expected a file" in refused(source)
    (source / "labels.txt").unlink()
    (source / "labels.txt").symlink_to("/dev/zero")
    assert "leads out of the folder, to /dev/zero" in refused(source)


def test_a_file_with_holes_is_refused_before_a_byte_is_copied(source: Path) -> None:
    with (source / "model.onnx").open("wb") as file:
        file.truncate(1 << 40)

    assert "it has holes" in refused(source)


def test_more_than_the_disk_has_is_refused_before_a_byte_is_copied(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(DiskFull, match=r"bytes are to be copied, \d+ are free"):
        intake._check_free(1 << 60, tmp_path)


def test_an_entry_of_any_size_is_not_read(source: Path) -> None:
    (source / "entry.toml").write_bytes(b"#" * (2 << 20))

    assert "expected 1048576 at most" in refused(source)


def test_a_file_that_changes_while_it_is_copied_is_refused(source: Path) -> None:
    # It grows for as long as the copy goes on.
    stop = threading.Event()
    (source / "model.onnx").write_bytes(os.urandom(4 << 20))

    def grow() -> None:
        with (source / "model.onnx").open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 1 << 30:
                file.write(b"x" * 4096)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert "changed while it was copied" in refused(source, Conflict)
    finally:
        stop.set()
        writer.join()


def test_bytes_that_are_not_those_of_the_entry_are_refused(source: Path) -> None:
    with (source / "entry.toml").open("a") as file:
        file.write(f'[[files]]\nname = "model.onnx"\nsha256 = "{"0" * 64}"\n')

    assert f"its entry.toml says {'0' * 64}" in refused(source)


def _tar(source: Path, *members: tarfile.TarInfo) -> Path:
    path = source.parent / "model.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("entry.toml", "model.onnx"):
            tar.add(source / name, f"m/{name}")
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_a_tar_of_a_folder_is_a_model(source: Path) -> None:
    folder, entry = take(_tar(source))

    names = sorted(path.name for path in folder.iterdir())
    assert names == ["entry.toml", "model.onnx", "verified.json"]
    assert entry.files[0].sources == []


@pytest.mark.parametrize(
    "found",
    [
        member("../escape"),
        member("/etc/escape"),
        member("m/../../escape"),
        member("other/escape"),
        member("m/sub/escape"),
        member("m/model.onnx"),
        member("m/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("m/link", tarfile.LNKTYPE, "/etc/passwd"),
        member("m/pipe", tarfile.FIFOTYPE),
        member("m/device", tarfile.CHRTYPE),
    ],
    ids=lambda found: f"{found.name}-{found.type.decode()}",
)
def test_a_tar_of_anything_but_plain_files_is_refused(
    source: Path, found: tarfile.TarInfo
) -> None:
    path = _tar(source, found)

    assert str(path) in refused(path)
    assert not list(source.parent.rglob("escape"))


def test_a_tar_that_was_cut_is_refused(source: Path) -> None:
    (source / "model.onnx").write_bytes(bytes(1 << 20))
    path = _tar(source)
    os.truncate(path, 500_000)

    assert "is no sound tar" in refused(path)


def test_what_a_tar_lacks_is_said_of_the_tar(source: Path) -> None:
    with (source / "entry.toml").open("a") as file:
        file.write('[[files]]\nname = "missing.bin"\n')
    path = _tar(source)

    assert refused(path).startswith(f"{path} has no missing.bin")


def test_a_member_that_is_there_twice_is_named(source: Path) -> None:
    path = _tar(source, member("m/model.onnx"))

    assert f"{path} holds m/model.onnx twice" in refused(path)


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
def test_an_extension_header_of_any_size_is_not_read(source: Path, kind: bytes) -> None:
    """Behind it would be two gigabytes, which `tarfile` reads into memory at once."""
    long = member("long", kind)
    long.size = 2 << 30
    path = source.parent / "bomb.tar"
    path.write_bytes(long.tobuf() + bytes(10_240))
    tracemalloc.start()
    try:
        assert "an extension header of 2147483648 bytes" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_tar_with_holes_is_refused(source: Path) -> None:
    path = _tar(source)
    os.truncate(path, 1 << 31)

    assert "it has holes" in refused(path)


@pytest.mark.parametrize(
    "told",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 30)},
        {"GNU.sparse.size": str(1 << 30), "GNU.sparse.numblocks": "0"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 30)},
    ],
    ids=["1.0", "0.0", "0.1"],
)
def test_a_member_with_holes_is_refused(source: Path, told: dict[str, str]) -> None:
    sparse = member("m/weights.bin")
    sparse.pax_headers, sparse.size = told, 512
    path = source.parent / "sparse.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(sparse, io.BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))

    assert "has holes, expected whole files" in refused(path)


def test_an_old_member_with_holes_is_refused(source: Path) -> None:
    path = _tar(source, member("m/weights.bin", tarfile.GNUTYPE_SPARSE))

    assert "m/weights.bin has holes" in refused(path)


def test_members_of_more_bytes_than_the_tar_has_are_refused(source: Path) -> None:
    big = member("m/weights.bin")
    big.size = 1 << 30
    path = source.parent / "big.tar"
    path.write_bytes(big.tobuf() + bytes(1024))

    assert "has 1073741824 bytes, more than the tar has" in refused(path)


def test_extensions_of_extensions_without_end_are_refused(source: Path) -> None:
    path = source.parent / "deep.tar"
    path.write_bytes(member("deep", b"L").tobuf() * 20_000)

    assert "is no sound tar" in refused(path)


@pytest.mark.parametrize(
    ("name", "start", "hint"),
    [
        ("m.tar.gz", b"\x1f\x8b\x08", "gunzip -k"),
        ("m.tar", b"\x1f\x8b\x08", "gunzip -k"),
        ("m.tar.xz", b"\xfd7zXZ\0", "unxz -k"),
        ("m.tgz", b"BZh9", "bunzip2 -k"),
    ],
)
def test_a_packed_tar_is_told_to_unpack_first(
    source: Path, name: str, start: bytes, hint: str
) -> None:
    path = source.parent / name
    path.write_bytes(start + bytes(2000))
    with pytest.raises(Invalid, match="expected a folder or a plain tar") as caught:
        take(path)

    assert caught.value.hint == f"{hint} {path}"
