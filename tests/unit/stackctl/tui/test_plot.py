"""Charts as text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.tui import plot

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def box(width: int = 30, height: int = 8) -> plot.Box:
    return plot.Box(width, height, 0, HOUR_US, lambda value: f"{value:g} ms")


def test_bars_stand_on_an_axis_with_its_unit_and_its_times() -> None:
    drawn = plot.bars([0, 1, 2, 4], box(width=13))

    assert [line[6:7] for line in drawn[:6]] == ["┤", "│", "│", "┤", "│", "┤"]
    assert drawn[0].startswith("  5 ms┤")
    assert drawn[3].startswith("2.5 ms┤")
    assert drawn[5].startswith("  0 ms┤")
    assert drawn[-1].strip() == "01:00"


def test_the_highest_bar_reaches_its_share_of_the_axis() -> None:
    drawn = plot.bars([5.0] * 8, box(width=15))

    assert all(line.endswith("████████") for line in drawn[:6])


def test_more_values_than_columns_are_summed_and_none_is_lost() -> None:
    assert plot.summed([1, 2, 3, 4, 5], 2) == [6, 9]
    assert sum(plot.summed(list(range(100)), 7)) == sum(range(100))


def test_lines_are_named_at_their_ends_on_rows_of_their_own() -> None:
    series = [plot.Line("p50", [1.0] * 20), plot.Line("p99", [1.0] * 20)]

    drawn = plot.lines(series, box())

    assert sum("p50" in line for line in drawn) == 1
    assert sum("p99" in line for line in drawn) == 1


def test_a_gap_in_a_line_is_not_bridged() -> None:
    whole = plot.lines([plot.Line("", [1.0] * 9)], box())
    broken = plot.lines([plot.Line("", [1.0, 1.0, None, None, None, None, None, 1.0, 1.0])], box())

    assert _dots(broken) < _dots(whole)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (1.01, 2), (37, 50), (501, 1000)])
def test_ceiling_is_one_two_or_five_times_a_power_of_ten(value: float, top: float) -> None:
    assert plot.ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_height_gives_an_axis_all_the_same(value: float) -> None:
    assert plot.ceiling(value) == 1


@given(
    values=st.lists(st.floats(0, 1e9), max_size=300),
    width=st.integers(1, 200),
    height=st.integers(1, 40),
)
def test_no_chart_is_larger_than_its_box(values: list[float], width: int, height: int) -> None:
    room = box(width, height)

    for drawn in (plot.bars(values, room), plot.lines([plot.Line("p50", values)], room)):
        assert len(drawn) <= max(height, 1)
        assert max(map(len, drawn), default=0) <= width


def _dots(lines: list[str]) -> int:
    return sum(bin(ord(c) - 0x2800).count("1") for line in lines for c in line if c >= "\u2800")
