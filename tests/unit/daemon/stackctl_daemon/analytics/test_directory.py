from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl_daemon import failpoints
from stackctl_daemon.analytics import directory

SYNC = "segment.directory.before_sync"


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_every_directory_that_was_missing_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory.make(tmp_path / "a" / "b" / "c")

    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 3


def test_the_entry_of_each_is_synced(tmp_path: Path) -> None:
    """The third sync fails: there must be one for each of three."""
    failpoints.arm(f"{SYNC}=error:EIO@3")

    with pytest.raises(OSError, match="Input/output"):
        directory.make(tmp_path / "a" / "b" / "c")


def test_one_that_is_there_is_synced_again(tmp_path: Path) -> None:
    """Whoever made it may have been killed before the sync."""
    failpoints.arm(f"{SYNC}=error:EIO")

    with pytest.raises(OSError, match="Input/output"):
        directory.make(tmp_path)
