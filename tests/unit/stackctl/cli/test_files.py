from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.cli.files import absolute, narrowed
from stackctl.errors import NotFound


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here[1]"
    (folder / "sub").mkdir(parents=True)
    (folder / "a*b.md").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


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
    assert absolute(["/x/../gone/"], exist=False) == ["/gone"]


def test_a_path_that_is_not_there_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "my notes" / "keys").mkdir(parents=True)

    with pytest.raises(NotFound) as caught:
        absolute([str(tmp_path / "my notes" / "kyes" / "a.md")])

    folder = tmp_path / "my notes"
    assert caught.value.message.endswith(f'did you mean "{folder}/keys"?')
    assert caught.value.hint == f"ls -la '{folder}'"


def test_a_name_that_is_not_utf8_is_taken(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(name).touch()

    assert absolute([name]) == [name]
    assert narrowed(name) == f"{tmp_path}/\\xff"
    with pytest.raises(NotFound, match=r"none\\xff"):
        absolute([name.replace("\udcff", "none\udcff")])


def test_a_path_to_search_below_is_resolved_as_index_does(here: Path, tmp_path: Path) -> None:
    # What stands for itself has a bracket about it: the daemon reads a glob.
    inside = str(here).replace("[", "[[]")

    assert narrowed(".") == narrowed("./") == inside
    for path in ("sub", "./sub", "sub/", "./sub//", "../here[1]/sub", "sub/../sub"):
        assert narrowed(path) == f"{inside}/sub"
    assert narrowed("./gone/") == f"{inside}/gone"
    assert narrowed("..") == narrowed("~") == narrowed("~/") == str(tmp_path)
    assert narrowed("/a/../b/") == "/b"
    assert narrowed("a*b.md") == f"{inside}/a[*]b.md"
    assert narrowed("") == ""


def test_globs_and_names_of_any_folder_stay(here: Path, tmp_path: Path) -> None:
    inside = str(here).replace("[", "[[]")

    for path in ("*.md", "notes/*.md", "elsewhere", "elsewhere/", "[ab].txt"):
        assert narrowed(path) == path
    assert narrowed("./*.md") == f"{inside}/*.md"
    assert narrowed("../*/x?.md") == f"{tmp_path}/*/x?.md"
    assert narrowed("~/n/*.md") == f"{tmp_path}/n/*.md"
    assert narrowed("/n/../*.md") == "/*.md"
