"""Following folders with the system's own notifications; the owner of a change is a list."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from fakes.search_area import Area, run

from stackctl.contracts.job import Job, JobProgress
from stackctl_daemon.search.watch import Watcher, mounted_below
from stackctl_daemon.tasks import TaskOwner

PATIENCE_S = 20.0


class Changes:
    """What a watcher said."""

    def __init__(self) -> None:
        self.count = 0
        self._came = asyncio.Condition()

    async def note(self, collection: str, root: bytes) -> None:
        """Count one."""
        async with self._came:
            self.count += 1
            self._came.notify_all()

    async def after(self, change: Callable[[int], object]) -> None:
        """Change something until the watcher says that it saw it: it begins some time later."""
        before, number = self.count, 0
        async with asyncio.timeout(PATIENCE_S):
            while self.count == before:
                number += 1
                change(number)
                async with self._came:
                    try:
                        async with asyncio.timeout(0.5):
                            await self._came.wait_for(lambda: self.count > before)
                    except TimeoutError:
                        continue


def follow(root: bytes, body: Callable[[Changes], Awaitable[None]]) -> None:
    async def whole() -> None:
        tasks, changes = TaskOwner(), Changes()
        watcher = Watcher(changes.note, tasks, retry_s=0.05)
        watcher.follow([("default", root)])
        try:
            await body(changes)
        finally:
            await tasks.close()

    asyncio.run(whole())


@pytest.mark.parametrize("name", [b"plain", b"caf\xe9"])
def test_a_root_of_any_name_is_followed(tmp_path: Path, name: bytes) -> None:
    root = os.fsencode(tmp_path) + b"/" + name
    os.makedirs(root + b"/sub")  # noqa: PTH103 - bytes
    file = Path(os.fsdecode(root + b"/sub/a.txt"))

    async def body(changes: Changes) -> None:
        await changes.after(lambda number: file.write_text(f"{number}"))

    follow(root, body)


def test_a_changed_file_whose_name_is_not_utf8_does_not_end_the_watching(tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))

    async def body(changes: Changes) -> None:
        await changes.after(lambda number: strange.write_text(f"{number}"))
        await changes.after(lambda number: (tmp_path / "a.txt").write_text(f"{number}"))

    follow(os.fsencode(tmp_path), body)


def test_a_root_that_comes_back_is_followed_again(tmp_path: Path) -> None:
    root = tmp_path / "root"

    def come_back(number: int) -> None:
        if number > 1:  # the watcher has looked by then, and found nothing
            root.mkdir(exist_ok=True)

    async def body(changes: Changes) -> None:
        await changes.after(come_back)
        await changes.after(lambda number: (root / "a.txt").write_text(f"{number}"))

    follow(os.fsencode(root), body)


def test_disks_below_a_root_are_told_by_the_table_of_mounts() -> None:
    table = (
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "31 20 8:2 / /r rw - ext4 /dev/sdb1 rw\n"
        "32 31 8:3 / /r/disk rw - ext4 /dev/sdc1 rw\n"
        "33 31 8:4 / /r/a\\040b/disk rw - ext4 /dev/sdd1 rw\n"
        "34 20 8:5 / /r2 rw - ext4 /dev/sde1 rw\n"
    )

    assert mounted_below(table, "/r") == {"32", "33"}
    assert mounted_below(table, "/r/a b") == {"33"}
    assert mounted_below(table, "/r/disk") == mounted_below(table, "/") == frozenset()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A place below a root and the command that mounts a disk there."""
    place = tmp_path / "root" / "disk"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "none", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount")
    if done.returncode:
        pytest.skip("only root may mount")
    subprocess.run(["umount", str(place)], check=True)
    yield place, mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def test_a_disk_that_comes_back_below_a_root_is_followed(
    disk: tuple[Path, list[str]],
) -> None:
    place, mount = disk

    def come_back(number: int) -> None:
        if number == 3:  # the watcher stands
            subprocess.run(mount, check=True)

    async def body(changes: Changes) -> None:
        await changes.after(come_back)
        await changes.after(lambda number: (place / "a.txt").write_text(f"{number}"))

    follow(os.fsencode(place.parent), body)


def _job(state: str, path: Path) -> Job:
    return Job(
        id="q",
        kind="search.index",
        title="",
        state=state,  # type: ignore[arg-type]  # one of its literals
        progress=JobProgress(),
        created_at="",
        params={"collection": "default", "paths": [str(path)]},
    )


def test_a_job_that_was_cancelled_in_the_queue_does_not_leave_its_root_deaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("A walrus.\n")

    async def body(area: Area) -> None:
        active = [_job("queued", root)]
        monkeypatch.setattr(area.jobs, "active", lambda: active)
        await area.index(root)

        async def changed() -> int:
            await area.service._changed("default", os.fsencode(root))
            return len(area.jobs.results)

        assert await changed() == 1  # it waits already
        active[0] = _job("running", root)
        assert await changed() == 2  # it has read the folder before this change
        active.clear()  # cancelled: what waited is no more
        assert await changed() == 3

    run(Area(tmp_path / "data"), body)
