"""Numbers and times in words that people read; refuses to print."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from typing import Any

CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""What would move a terminal's cursor, change its colours, reorder its text or end a line."""


COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def clean(value: Any) -> str:
    """Make foreign text safe for one line of a terminal: every control character is a blank."""
    return CONTROL.sub(" ", str(value))


def display_width(text: str) -> int:
    """Columns that text takes: wide East Asian characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def visible_width(text: str) -> int:
    """Columns that text takes on a terminal, its colours left out."""
    return display_width(COLOURS.sub("", text))


def cut(text: str, width: int) -> str:
    """Shorten text to ``width`` columns, ending in an ellipsis when something is missing."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""


def short_path(path: str) -> str:
    """Relative to the working directory where it lies below it, else with ``~`` for home."""
    for base, prefix in ((os.getcwd(), ""), (os.path.expanduser("~"), "~/")):  # noqa: PTH109, PTH111 - strings, no Path needed
        if base != "/" and path.startswith(base + "/"):
            return prefix + path[len(base) + 1 :]
    return path


def size(count: float) -> str:
    """Bytes, such as ``87.6 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float | None) -> str:
    """A span, such as ``12 ms``, ``3.4 s``, ``2 min 5 s`` ``3 h 12 min`` or ``1 h``."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if not minutes and hours < 48:
        return f"{hours} h"
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def local_time(stamp: str | None) -> str:
    """An ISO 8601 UTC time of the wire, in the reader's zone: ``2026-03-01 14:05:09``."""
    found = re.match(r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)", stamp or "")
    if not found:
        return stamp or "-"
    # calendar.timegm, without importing calendar (10 ms).
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    days = _days_from_civil(year, month, day)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date.

    Source: H. Hinnant, "chrono-compatible low-level date algorithms", days_from_civil.
    """
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + (day_of_year - 719468)
    )
