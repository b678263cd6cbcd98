from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.table import Column, render
from stackctl.cli.text import display_width

COLUMNS = [
    Column("NAME", lambda r: r[0]),
    Column("COUNT", lambda r: r[1], right=True),
    Column("SUMMARY", lambda r: r[2], shrink=True),
]


def test_columns_line_up_and_numbers_stand_right() -> None:
    lines = render([("a", 5, "one"), ("longer", 1234, "")], COLUMNS, None)

    assert lines == ["NAME    COUNT  SUMMARY", "a           5  one", "longer   1234  -"]


def test_the_column_that_may_shrink_gives_way_first() -> None:
    lines = render([("name", 1, "word " * 30)], COLUMNS, 60)

    assert max(map(display_width, lines)) == 60
    assert lines[1].endswith("…")
    assert lines[1].startswith("name      1  word word")


def test_nothing_is_cut_when_piped() -> None:
    lines = render([("name", 1, "word" * 100)], COLUMNS, None)

    assert "word" * 100 in lines[1]


@given(st.lists(st.tuples(st.text(), st.integers(), st.text())), st.integers(24, 200))
def test_every_line_fits_the_terminal(rows: list[tuple[str, int, str]], width: int) -> None:
    assert all(display_width(line) <= width for line in render(rows, COLUMNS, width))


def test_optional_columns_go_before_a_name_is_cut() -> None:
    columns = [
        Column("ID", lambda r: r[0]),
        Column("CREATED", lambda r: r[1], optional=True),
        Column("TITLE", lambda r: r[2], shrink=True),
        Column("KIND", lambda r: r[3], optional=True),
    ]
    rows = [("89d1042535521734", "2026-03-01 14:05", "a title of many words", "search.index")]

    lines = render(rows, columns, 54)

    assert lines[0].split() == ["ID", "CREATED", "TITLE"]
    assert lines[1].startswith("89d1042535521734  2026-03-01 14:05  a title of")
    assert "KIND" in render(rows, columns, 80)[0]
    assert "KIND" in render(rows, columns, None)[0]
