"""Tables without rich (115 ms of CPU); refuses to know what its rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stackctl.cli.text import clean, cut, display_width

GAP = 2
SMALLEST = 6
READABLE = 14
"""Columns that a shortened text needs to say something; below it, optional columns go first."""


@dataclass(frozen=True)
class Column:
    """One column: its head, how it shows an item, and how programs read it."""

    head: str
    cell: Callable[[Any], Any]
    raw: Callable[[Any], Any] | None = None
    """Value under ``--plain``; what ``cell`` gives when None."""
    right: bool = False
    shrink: bool = False
    """May be cut when the terminal is narrow."""
    optional: bool = False
    """Left out where the rest would become unreadable: first those that say nothing of any item,
    then the rightmost."""

    def plain(self, item: Any) -> str:
        """Give the value for programs."""
        value = (self.raw or self.cell)(item)
        return "" if value is None else str(value)


def render(items: Sequence[Any], columns: Sequence[Column], width: int | None) -> list[str]:
    """Give a head line and one line an item, at most ``width`` columns wide when it is given."""
    texts = [[c.head, *(clean(_text(c.cell(item))) for item in items)] for c in columns]
    widths = [max(map(display_width, column)) for column in texts]
    if width is not None:
        kept = _affordable(texts, widths, columns, width)
        texts, widths = [texts[i] for i in kept], [widths[i] for i in kept]
        columns = [columns[i] for i in kept]
        _fit(widths, columns, width)
    return [_line(row, widths, columns) for row in zip(*texts, strict=True)]


def _text(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _affordable(
    texts: Sequence[Sequence[str]], widths: Sequence[int], columns: Sequence[Column], width: int
) -> list[int]:
    """Give the columns to show: without optional ones until the rest stays readable."""
    kept = list(range(len(columns)))
    spare = [i for i in kept if columns[i].optional]
    spare.sort(key=lambda i: set(texts[i][1:]) <= {"-"})  # the last one goes first
    while spare:
        least = [min(widths[i], READABLE) if columns[i].shrink else widths[i] for i in kept]
        if sum(least) + GAP * (len(kept) - 1) <= width:
            break
        kept.remove(spare.pop())
    return kept


def _fit(widths: list[int], columns: Sequence[Column], width: int) -> None:
    """Take columns away from the widest column that may shrink, then from any, until it fits."""
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    for candidates in ([i for i, c in enumerate(columns) if c.shrink], range(len(columns))):
        while excess > 0:
            widest = max(candidates, key=lambda i: widths[i], default=None)
            if widest is None or widths[widest] <= SMALLEST:
                break
            widths[widest] -= 1
            excess -= 1


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    parts = []
    for text, width, column in zip(cells, widths, columns, strict=True):
        shown = cut(text, width)
        pad = " " * (width - display_width(shown))
        parts.append(pad + shown if column.right else shown + pad)
    return (" " * GAP).join(parts).rstrip()
