"""Paths on the wire, and documents whose disk seems not to be mounted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.search_area import Area, run
from hypothesis import given
from hypothesis import strategies as st

from stackctl.contracts.search import RemoveRequest
from stackctl.errors import Conflict
from stackctl_daemon.search.roots import Held, carried, disks, held, parse, removal

SHM = Path("/dev/shm")


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_every_name_travels_and_comes_back(name: bytes) -> None:
    path = os.path.normpath(b"/d/" + name)

    assert parse(carried(path)) == path
    carried(path).encode()


def test_a_removal_can_be_pasted_into_a_shell() -> None:
    assert removal("default", [b"/a b", b"/c"]) == "stackctl index --remove '/a b' /c"
    assert removal("work", [b"/a"]) == "stackctl index --remove /a --collection work"


def test_a_disk_below_a_root_that_is_gone_is_held_alone() -> None:
    known = [b"/r/a", b"/r/disk/b", b"/r/disk/c"]
    was = {b"/r": 1, b"/r/disk": 2}
    lost = {b"/r/disk/b", b"/r/disk/c"}

    for device in (1, None):  # not mounted; its folder removed with it
        now = {b"/r": 1, b"/r/disk": device}
        found = held(b"/r", known, lost, empty=False, was=was, now=now)
        assert found == [Held(b"/r/disk", 2, 2, True)]
    # Deleted by its owner: the disk is there.
    assert held(b"/r", known, lost, empty=False, was=was, now=was) == []


def test_another_number_of_the_same_disk_is_no_loss() -> None:
    known = [b"/r/a", b"/r/b", b"/r/c"]
    was, now = {b"/r": 1}, {b"/r": 9}

    assert held(b"/r", known, {b"/r/a"}, empty=False, was=was, now=now) == []
    found = held(b"/r", known, {b"/r/a", b"/r/b"}, empty=False, was=was, now=now)
    assert found == [Held(b"/r", 2, 3, True)]


def test_disks_are_told_by_their_devices(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    root = os.fsencode(tmp_path)

    found = disks(root, [root + b"/a", root + b"/sub/b"], [root + b"/none"])

    assert found == {root: tmp_path.stat().st_dev, root + b"/none": None}
    assert disks(root + b"/a", [], []) == {}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("one", "two", "three"):
        (folder / f"{name}.txt").write_text(f"The walrus {name}.\n")
    return folder


def test_a_root_that_became_empty_keeps_its_documents_and_says_how_to_forget_them(
    tmp_path: Path, corpus: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "owl.txt").write_text("An owl.\n")

    async def body(area: Area) -> None:
        await area.index(corpus)
        for file in corpus.iterdir():
            file.rename(tmp_path / file.name)
        with pytest.raises(Conflict) as refused:
            await area.index(corpus, other)

        assert f'"{corpus}" has nothing left' in refused.value.message
        assert refused.value.hint == f"stackctl index --remove {corpus}"
        assert (await area.service.collection("default")).documents == 4  # the owl came in

        (corpus / "new.txt").write_text("A folder in use is no disk that is missing.\n")
        assert (await area.index(corpus))["removed"] == 3

    run(Area(tmp_path / "data"), body)


@pytest.fixture
def disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=SHM))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not SHM.is_dir(), reason="no second file system")
def test_a_root_on_another_device_keeps_what_it_lost(
    tmp_path: Path, corpus: Path, disk: Path
) -> None:
    if disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    shutil.copytree(corpus, disk, dirs_exist_ok=True)
    below = tmp_path / "below"
    below.mkdir()
    (below / "readme.txt").write_text("The disk is not mounted.\n")
    # A link stands for a mount point, which only root can make.
    root = tmp_path / "root"
    root.symlink_to(disk)

    def mount(folder: Path) -> None:
        root.unlink()
        root.symlink_to(folder)

    async def body(area: Area) -> None:
        await area.index(root)
        mount(below)
        with pytest.raises(Conflict, match="another device"):
            await area.index(root)
        with pytest.raises(Conflict, match="another device"):
            await area.index(root)  # the device of the disk is still the one that counts
        assert (await area.service.collection("default")).documents == 4
        mount(disk)
        result = await area.index(root)
        assert (result["unchanged"], result["removed"]) == (3, 1)

        # Moved whole to another disk: its device is taken over.
        mount(corpus)
        assert (await area.index(root, force=True))["removed"] == 0
        (corpus / "one.txt").unlink()
        (corpus / "two.txt").unlink()
        assert (await area.index(root))["removed"] == 2

        mount(below)
        await area.service.remove(RemoveRequest(paths=[str(root)]))
        assert (await area.index(root))["indexed"] == 1

    run(Area(tmp_path / "data"), body)
