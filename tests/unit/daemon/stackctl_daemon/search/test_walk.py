"""Walking: what is found, ignored, skipped and reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl_daemon.search.walk import Walk, shown, walk


def _walk(root: Path, limit: int = 1000) -> Walk:
    return walk(os.fsencode(root), max_file_bytes=limit)


def _names(root: Path) -> list[str]:
    return [shown(f.path).removeprefix(f"{root}/") for f in _walk(root).files]


def test_ignore_files_and_default_folders_are_honoured(tmp_path: Path) -> None:
    for name in ("a.txt", "b.log", "keep.log", ".git/x", "sub/c.log", "sub/d.txt", "out/e.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    (tmp_path / ".gitignore").write_text("*.log\nout/\n.gitignore\n.stackctlignore\n")
    (tmp_path / ".stackctlignore").write_text("!keep.log\n")

    assert _names(tmp_path) == ["a.txt", "keep.log", "sub/d.txt"]


def test_a_nested_ignore_file_overrides_its_parent(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n.gitignore\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.log\n")
    (tmp_path / "sub" / "b.log").write_text("x")

    assert _names(tmp_path) == ["sub/b.log"]


def test_no_symlink_is_followed_and_each_is_told(tmp_path: Path) -> None:
    """A link may lead out of the folder that a person named; inside it, it would be a copy."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("outside")
    (root / "a.txt").write_text("x")
    (root / "inside.txt").symlink_to("a.txt")
    (root / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    (root / "gone").symlink_to("nothing")

    found = _walk(root)

    assert [Path(os.fsdecode(f.path)).name for f in found.files] == ["a.txt"]
    assert [reason for _, reason in found.skipped] == ["symlink, not followed"] * 5


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_source_that_is_itself_a_symlink_is_followed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("x")
    link = tmp_path / "link"
    link.symlink_to("real" if kind == "folder" else "real/a.txt")

    (found,) = _walk(link).files

    assert found.path == os.fsencode(link / "a.txt" if kind == "folder" else link)
    assert found.root == (b"" if kind == "file" else os.fsencode(link))


def test_large_empty_and_special_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")

    found = _walk(tmp_path, limit=10)

    assert found.files == []
    assert [reason for _, reason in found.skipped] == [
        "empty",
        "11 bytes, above max_file_bytes 10",
        "not a regular file",
    ]


def test_a_name_that_is_not_utf8_is_found_and_shown(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(path)).write_text("x")

    found = _walk(tmp_path)

    assert found.files[0].path == path
    assert shown(path).endswith("caf\\xe9.txt")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        found = _walk(tmp_path)
    finally:
        closed.chmod(0o700)

    assert found.unreadable == [os.fsencode(closed)]


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _walk(tmp_path / "none")
