"""Rings of minutes and hours."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stackctl_daemon.insights import grid as module
from stackctl_daemon.insights.grid import HOURS, MINUTES, OTHER, Grid

END = 600_000


def _grid() -> Grid:
    grid = Grid(("model", "device"), ("count", "log_s", "max_s"))
    grid.begin(END)
    return grid


def _put(grid: Grid, minute: int, model: str, count: float, log_s: float = 0.0) -> None:
    grid.put((model, "cpu:0"), minute, {"count": count, "log_s": log_s, "max_s": 1.0})


def test_values_are_summed_by_dimension() -> None:
    grid = _grid()
    _put(grid, END - 1, "a", 3)
    _put(grid, END - 1, "b", 4)

    assert grid.lines("").minutes[0, -1] == 7
    assert grid.lines("model").values == ["a", "b"]
    assert list(grid.lines("device").minutes[:, -1]) == [7]


def test_latency_is_weighted_by_count_and_unknown_where_nothing_was() -> None:
    grid = _grid()
    _put(grid, END - 1, "a", 3, 1.0)
    _put(grid, END - 1, "b", 1, 5.0)

    assert grid.latency("").minutes[0, -1] == 2.0
    assert np.isnan(grid.latency("").minutes[0, -2])


def test_lines_follow_as_the_grid_moves_on_and_late_minutes_change() -> None:
    grid = _grid()
    _put(grid, END - 1, "a", 3)
    assert grid.lines("").minutes[0, -1] == 3

    grid.advance(END + 2)
    grid.clear(END - 1)
    _put(grid, END - 1, "a", 5)
    _put(grid, END + 1, "a", 7)

    assert list(grid.lines("").minutes[0, -4:]) == [0, 5, 0, 7]


def test_an_hour_is_summed_up_after_late_events_had_their_time() -> None:
    grid = _grid()
    first = (END // 60) * 60
    for minute in range(first, first + 60):
        grid.advance(minute + 1)
        _put(grid, minute, "a", 2, math.log(2))
    grid.advance(first + 62)
    assert grid.lines("").hours[0, -1] == 0
    grid.advance(first + 63)

    assert grid.lines("").hours[0, -1] == 120
    assert grid.latency("").hours[0, -1] == pytest.approx(math.log(2))
    assert grid.hours["max_s"][0, -1] == 1


def test_what_is_out_of_reach_is_left_out() -> None:
    grid = _grid()
    _put(grid, END, "a", 3)
    _put(grid, END - MINUTES - 1, "a", 3)
    grid.put_hour(("a", "cpu:0"), grid.end_hour - HOURS - 1, {"count": 3})

    assert grid.lines("").minutes.sum() == 0
    assert grid.lines("").hours.sum() == 0


def test_groups_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GROUPS", 2)
    grid = _grid()
    for name in "abcd":
        _put(grid, END - 1, name, 1)

    assert grid.keys[2:] == [(OTHER, OTHER)]
    assert grid.lines("").minutes[0, -1] == 4


def test_rest_is_held_against_each_cells_own() -> None:
    grid = _grid()
    _put(grid, END - 1, "a", 3, 1.0)
    _put(grid, END - 1, "b", 1, 5.0)
    usual = np.array([[1.0], [4.0]], np.float32)

    rest = grid.rest("", "model", usual, False)

    assert rest[0, 0] == 0.25
