"""Plain files: encodings, headings, definitions, and what is binary."""

from __future__ import annotations

import pytest

from stackctl_daemon.search.extract import extract_plain
from stackctl_daemon.search.filetype import detect


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ("grüße".encode(), ""),
        ("grüße".encode("utf-16"), "utf-16"),
        ("grüße".encode("latin-1"), "latin-1"),
    ],
)
def test_encodings_are_told_apart(data: bytes, note: str) -> None:
    found = extract_plain(data, "text", "a.txt")

    assert (found.blocks[0].text, found.note) == ("grüße", note)


def test_markdown_headings_are_paths_and_fences_are_not() -> None:
    text = b"# Guide\nHello\n\n## Keys\nRotate\n```\n# not a heading\n```\n## More\nx\n"
    found = extract_plain(text, "markdown", "a.md")

    assert found.title == "Guide"
    assert [(b.heading, b.line_start) for b in found.blocks] == [
        ("Guide", 1),
        ("Guide > Keys", 4),
        ("Guide > More", 9),
    ]


def test_code_is_split_at_definitions_with_their_decorators() -> None:
    text = b"import os\n\n@mark\ndef one():\n    pass\n\nclass Two:\n    pass\n"
    found = extract_plain(text, "code", "a.py")

    assert [(b.heading, b.line_start) for b in found.blocks] == [("", 1), ("one", 3), ("Two", 7)]


def test_a_short_first_paragraph_is_the_title() -> None:
    assert extract_plain(b"The title\n\nBody", "text", "a.txt").title == "The title"
    assert extract_plain(b"one\ntwo", "text", "a.txt").title == "a.txt"


@pytest.mark.parametrize(
    ("name", "head", "type_"),
    [
        (b"a.md", b"# x", "markdown"),
        (b"a.bin", b"text", None),
        (b"a.txt", b"a\0b", None),
        (b"a", b"<!DOCTYPE html><p>", "html"),
        (b"run", b"#!/bin/sh\n", "code"),
        (b"a.txt", b"%PDF-1.7", "pdf"),
        (b"a.pdf", b"broken", "pdf"),
        (b"Makefile", b"all:", "code"),
        (b"caf\xe9", b"plain", "text"),
    ],
)
def test_types_come_from_name_and_bytes(name: bytes, head: bytes, type_: str | None) -> None:
    assert detect(b"/x/" + name, head) == type_


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("# C#", "C#"),
        ("## Closed ##  ", "Closed"),
        ("# a" + " " * 200_000 + "b", "a" + " " * 200_000 + "b"),
        ("# a" + " #" * 100_000, None),
    ],
    ids=["sharp", "closed", "blanks", "marks"],
)
def test_headings_of_any_length_are_read_in_one_pass(line: str, heading: str | None) -> None:
    """The review's file: a backtracking pattern held the whole daemon for minutes."""
    data = f"{line}\n\nSome text below.\n".encode()

    found = extract_plain(data, "markdown", "a.md")

    assert found.blocks[-1].text.rstrip().endswith("Some text below.")
    if heading is not None:
        assert heading.split()[0] in found.blocks[-1].heading + found.title
