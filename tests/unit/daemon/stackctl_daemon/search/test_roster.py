"""The list of collections beside the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl_daemon.search.roster import Roster, missing


def test_what_was_noted_is_read_again_byte_for_byte(tmp_path: Path) -> None:
    roster = Roster(tmp_path / "search.sqlite")
    roster.add("notes", [(b"/a\xff\n", True), (b"/\xc3\xa4", False)])
    roster.add("notes", [(b"/b", False)])
    roster.add("empty", [])
    roster.add("gone", [(b"/g", True)])
    roster.forget("gone")

    again = Roster(tmp_path / "search.sqlite").read()
    notes = {b"/a\xff\n": True, b"/\xc3\xa4": False, b"/b": False}
    assert again == {"notes": notes, "empty": {}}
    assert [file.name for file in tmp_path.iterdir()] == ["search.collections.json"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1, "collections": [1]}', b"\xff"]
)
def test_a_roster_that_cannot_be_understood_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    roster = Roster(tmp_path / "search.sqlite")
    roster.file.write_bytes(damage)

    assert roster.read() is None


def test_what_a_store_lacks_is_told_by_source() -> None:
    noted = {"a": {b"/1": True, b"/2": False}, "b": {}, "c": {b"/3": False}}

    assert missing(noted, {"a": {b"/1": False}, "c": {b"/3": True, b"/4": False}}) == {
        "a": {b"/2": False},
        "b": {},
    }
