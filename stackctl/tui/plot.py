"""Charts as lines of text with axes and units; refuses to know widgets and colours.

Bars are blocks (eight heights a cell), lines are braille (two by four dots a cell). A line's name
stands at its right end, so that several are told apart without colour.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BLOCKS = " ▁▂▃▄▅▆▇█"
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille cell by column and row."""
Value = float | None
Unit = Callable[[float], str]
LEAST = 1e-12
"""Below it a value is as good as none: its powers of ten are not exact."""
LEAST_ROWS, LEAST_COLUMNS = 2, 6


@dataclass(frozen=True)
class Line:
    """A named row of values; None where there is nothing to say."""

    name: str
    values: Sequence[Value]


@dataclass(frozen=True)
class Box:
    """Where a chart goes, and what its axes mean."""

    width: int
    height: int
    begin_us: int
    end_us: int
    unit: Unit


def bars(values: Sequence[float], box: Box) -> list[str]:
    """Give a bar chart of counts; neighbours are summed where there are more than columns."""
    plot, found = _fitted(values, box)
    if not plot.fits:
        return _too_small(box)
    eighths = [round(value / plot.top * plot.rows * 8) for value in found]
    rows = []
    for row in range(plot.rows):
        floor = (plot.rows - 1 - row) * 8
        levels = [min(max(level - floor, 0), 8) for level in eighths]
        picked = (levels[c * len(levels) // plot.columns] for c in range(plot.columns))
        rows.append("".join(BLOCKS[level] for level in picked) if levels else "")
    return plot.framed(rows)


def bar_size(values: Sequence[float], box: Box) -> int:
    """Give how many values `bars` sums in a bar."""
    plot, _ = _fitted(values, box)
    return grouping(len(values), plot.columns) if plot.fits else 1


def lines(series: Sequence[Line], box: Box) -> list[str]:
    """Give a chart of lines, each named at its end."""
    known = [value for line in series for value in line.values if value is not None]
    names = max((len(line.name) for line in series), default=0)
    plot = _Plot(box, ceiling(max(known, default=0.0)), names + 1 if names else 0)
    if not plot.fits:
        return _too_small(box)
    cells = [[0] * plot.columns for _ in range(plot.rows)]
    ends: dict[int, str] = {}
    for line in series:
        last = _draw(cells, line.values, plot.top)
        if last is not None and line.name:
            ends[_free_row(ends, last, plot.rows)] = line.name
    drawn = ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]
    return plot.framed([f"{row} {ends.get(number, '')}" for number, row in enumerate(drawn)])


def summed(values: Sequence[float], columns: int) -> list[float]:
    """Give at most ``columns`` sums of neighbours."""
    size = grouping(len(values), columns)
    return [sum(values[i : i + size]) for i in range(0, len(values), size)]


def grouping(count: int, columns: int) -> int:
    """Give how many neighbours share a column."""
    return max(math.ceil(count / max(columns, 1)), 1)


def ceiling(value: float, *, whole: bool = False) -> float:
    """Give the least of 1, 2 and 5 times a power of ten that is not below ``value``."""
    if not value > LEAST or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    top = next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)
    return max(top, 1.0) if whole else top


def clock(time_us: int, span_us: int) -> str:
    """Give a time of the axis in the reader's zone: the hour, or the day of a long range."""
    form = "%H:%M" if span_us <= 86_400_000_000 else "%d %b"
    return time.strftime(form, time.localtime(time_us / 1e6))


@dataclass
class _Plot:
    """The inner area of a box, and its axes."""

    box: Box
    top: float
    right: int = 0

    @property
    def rows(self) -> int:
        return self.box.height - 2

    @property
    def labels(self) -> dict[int, str]:
        """Texts of the left axis by row."""
        found = {0: self.box.unit(self.top), self.rows - 1: self.box.unit(0.0)}
        if self.rows >= 5:
            found[self.rows // 2] = self.box.unit(self.top / 2)
        return found

    @property
    def gutter(self) -> int:
        return max(map(len, self.labels.values()))

    @property
    def columns(self) -> int:
        return self.box.width - self.gutter - 1 - self.right

    @property
    def fits(self) -> bool:
        return self.rows >= LEAST_ROWS and self.columns >= LEAST_COLUMNS

    def framed(self, rows: Sequence[str]) -> list[str]:
        """Put the axes around the rows."""
        labels = self.labels
        out = []
        for number, row in enumerate(rows):
            label = labels.get(number, "")
            out.append(f"{label:>{self.gutter}}{'┤' if label else '│'}{row}".rstrip())
        out.append(f"{'':>{self.gutter}}└{'─' * self.columns}")
        span_us = self.box.end_us - self.box.begin_us
        first, last = clock(self.box.begin_us, span_us), clock(self.box.end_us, span_us)
        middle = clock(self.box.begin_us + span_us // 2, span_us)
        ticks = _spread((first, middle, last), self.columns)
        return [*out, f"{'':>{self.gutter + 1}}{ticks}"]


def _fitted(values: Sequence[float], box: Box) -> tuple[_Plot, list[float]]:
    """Give the plot of bars and their heights."""
    plot = _Plot(box, ceiling(max(summed(values, box.width), default=0.0), whole=True))
    if plot.fits:
        # The axis takes columns, so that bars are fewer and higher: their top may be another.
        found = summed(values, plot.columns)
        plot = _Plot(box, ceiling(max(found, default=0.0), whole=True))
    return plot, summed(values, plot.columns) if plot.fits else []


def _spread(texts: tuple[str, str, str], width: int) -> str:
    """Set three texts at the left, middle and right of a line; fewer where they do not fit."""
    first, middle, last = texts
    if len(first) + len(last) + 1 > width:
        return last.rjust(width)[:width]
    gap = width - len(first) - len(last)
    if gap < len(middle) + 4:
        return first + " " * gap + last
    return first + middle.center(gap) + last


def _draw(cells: list[list[int]], values: Sequence[Value], top: float) -> int | None:
    """Set a line's dots; give the row of its last value."""
    width, height = len(cells[0]) * 2, len(cells) * 4
    before: tuple[int, int] | None = None
    last: int | None = None
    for number, value in enumerate(values):
        if value is None or not math.isfinite(value):
            before = None
            continue
        x = round(number * (width - 1) / max(len(values) - 1, 1))
        y = height - 1 - round(min(max(value / top, 0.0), 1.0) * (height - 1))
        for dot_x, dot_y in _between(before or (x, y), (x, y)):
            cells[dot_y // 4][dot_x // 2] |= DOTS[dot_x % 2][dot_y % 4]
        before, last = (x, y), y // 4
    return last


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * i / steps),
            round(start[1] + (end[1] - start[1]) * i / steps),
        )
        for i in range(steps + 1)
    ]


def _free_row(taken: dict[int, str], wanted: int, rows: int) -> int:
    """Give the row nearest to the wanted one that has no name yet."""
    free = [row for row in range(rows) if row not in taken] or [wanted]
    return min(free, key=lambda row: abs(row - wanted))


def _too_small(box: Box) -> list[str]:
    return ["too small to draw"[: box.width]]
