"""Chunks: bounded, in order, nothing lost, never across a page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.search.chunking import Chunk, chunk, embedded_text
from stackctl_daemon.search.extract import Block, Extracted, extract_plain


@given(st.text(max_size=3000), st.integers(8, 100))
def test_every_word_is_in_some_chunk_and_chunks_are_bounded(text: str, tokens: int) -> None:
    chunks = chunk(Extracted("t", [Block(text, line_start=1)]), chunk_tokens=tokens)

    joined = "".join("".join(c.text.split()) for c in chunks)
    assert set("".join(text.split())) <= set(joined)
    assert all(len(c.text) <= tokens * 4 + 1 for c in chunks)


def test_lines_of_a_chunk_are_those_of_the_file() -> None:
    lines = [f"line {n} with some words in it" for n in range(1, 101)]
    found = chunk(Extracted("t", [Block("\n".join(lines), line_start=1)]), chunk_tokens=50)

    assert len(found) > 5
    for piece in found:
        assert piece.line_start is not None
        assert piece.line_end is not None
        assert piece.text == "\n".join(lines[piece.line_start - 1 : piece.line_end])
    assert found[-1].line_end == 100


def test_neighbours_overlap_a_little() -> None:
    lines = [f"line {n}" for n in range(100)]
    first, second, *_ = chunk(Extracted("t", [Block("\n".join(lines))]), chunk_tokens=50)

    assert second.text.split("\n")[0] in first.text.split("\n")[-4:]


def test_pages_are_not_mixed() -> None:
    blocks = [Block("one", page=1), Block("two", page=2)]

    assert [c.page for c in chunk(Extracted("t", blocks), chunk_tokens=200)] == [1, 2]


def test_small_functions_share_a_chunk() -> None:
    code = b"import os\n\n\ndef one():\n    pass\n\n\n@mark\ndef two():\n    pass\n"
    found = chunk(extract_plain(code, "code", "a.py"), chunk_tokens=200)

    assert [(c.heading, c.line_start, c.line_end) for c in found] == [("one, two", 1, 10)]


def test_the_model_reads_title_and_heading_once() -> None:
    piece = Chunk("Install\nRun it.", "Guide > Install", None, 1, 2)

    assert embedded_text("Guide", piece) == "Guide > Install\nInstall\nRun it."
    assert embedded_text("Title", Chunk("Title\n\nBody", "", None, 1, 3)) == "Title\n\nBody"


def test_a_line_of_a_million_wide_characters_is_cut_in_one_pass() -> None:
    """Measuring the whole rest at each cut took minutes for 200,000 characters."""
    text = "東京都" * 333_333

    chunks = chunk(Extracted("", [Block(text)]), chunk_tokens=200)

    assert "".join(c.text for c in chunks).count("東") >= 333_333
