from __future__ import annotations

import copy
import io

import pytest
from control_server import REPLY

from stackctl.cli import hits
from stackctl.cli.output import Output
from stackctl.cli.text import display_width
from stackctl.client.view import decode, encode


def _reply(**fields: object) -> object:
    reply = copy.deepcopy(REPLY)
    reply["hits"][0] |= fields  # type: ignore[index, operator]  # a literal of mixed values
    return decode(encode(reply))


def _text(reply: object, *, colour: bool = False, width: int | None = None) -> str:
    out = io.StringIO()
    hits.show(Output("text", colour, width, out), reply)  # type: ignore[arg-type]  # a view
    return out.getvalue()


def test_a_hit_is_ranked_cited_and_quoted() -> None:
    text = _text(_reply())

    assert " 1. /d/keys.md:12  Keys > Rotation\n    To rotate a key, make a new one.\n" in text
    assert '1 hit in "default" (hybrid, 13 ms)' in text


def test_words_of_the_query_are_highlighted_on_a_terminal() -> None:
    assert "To \x1b[1;33mrotate\x1b[0m a key" in _text(_reply(), colour=True)


def test_a_highlight_over_a_line_end_is_styled_on_both_lines() -> None:
    words = "word " * 30
    text = _text(_reply(snippet=words, highlights=[[0, 149]]), colour=True, width=60)
    quoted = [line for line in text.splitlines() if "word" in line]

    assert len(quoted) > 1
    assert all(line.count("\x1b[1;33m") == line.count("\x1b[0m") == 1 for line in quoted)


@pytest.mark.parametrize("spans", [[[5, 2]], [[0, 999]], [[-1, 3]], [[0, 4], [2, 6]]])
def test_spans_that_make_no_sense_lose_no_text(spans: list[list[int]]) -> None:
    assert "To rotate a key, make a new one." in _text(_reply(highlights=spans))


def test_a_snippet_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in _text(_reply(snippet="\x1b]0;gotcha\x07 text", highlights=[]))


def test_pages_are_cited_as_pages() -> None:
    citation = {"path": "/d/a.pdf", "heading": "", "page": 3, "line_start": None}

    assert " 1. /d/a.pdf p.3\n" in _text(_reply(citation=citation))


def test_sixty_columns_are_enough() -> None:
    text = _text(_reply(snippet="a longer sentence " * 20, highlights=[]), width=60)

    assert max(map(display_width, text.splitlines())) <= 60


def test_no_hits_say_so() -> None:
    reply = decode(encode({**REPLY, "hits": []}))

    assert _text(reply) == 'nothing in "default" matches\n'


def test_a_narrow_terminal_keeps_the_place_and_cuts_the_heading() -> None:
    citation = {
        "path": "/d/keys.md",
        "heading": "Keys > Rotation > When it must be done by hand",
        "page": None,
        "line_start": 12,
        "line_end": 14,
    }

    first = _text(_reply(citation=citation), width=40).splitlines()[0]

    assert first.startswith(" 1. /d/keys.md:12  Keys > Rot")
    assert display_width(first) <= 40


@pytest.mark.parametrize("mode", ["plain", "quiet"])
def test_programs_get_the_whole_path(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/d")
    out = io.StringIO()

    hits.show(Output(mode, False, None, out), _reply())  # type: ignore[arg-type]  # as above

    assert "/d/keys.md:12" in out.getvalue()
    assert "~/keys.md:12" in _text(_reply())
