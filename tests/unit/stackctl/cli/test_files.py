from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.cli.files import absolute
from stackctl.errors import Invalid, NotFound


def test_paths_become_absolute_and_links_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert absolute(["link", "~/real"]) == [str(tmp_path / "link"), str(tmp_path / "real")]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="gone"):
        absolute([str(tmp_path / "gone")])


def test_a_name_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(name).touch()

    with pytest.raises(Invalid, match="not UTF-8"):
        absolute([name])
