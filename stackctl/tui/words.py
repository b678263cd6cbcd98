"""Words and styles that the screens share: times, states, errors; refuses to hold data."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from textual.content import Content

from stackctl.cli.text import clean, duration
from stackctl.errors import StackctlError
from stackctl.tui.messages import Slot

STYLES = {
    "ready": "$text-success",
    "ok": "$text-success",
    "succeeded": "$text-success",
    "running": "$text-accent",
    "degraded": "$text-warning",
    "warning": "$text-warning",
    "muted": "$text-muted",
    "cancelled": "$text-warning",
    "interrupted": "$text-warning",
    "critical": "bold $text-error",
    "error": "$text-error",
    "failed": "$text-error",
    "off": "$text-muted",
}
DRAWN = re.compile("[\u2581-\u2588\u2800-\u28ff]+")
"""Blocks and braille."""
MARKS = {"critical": "!!", "warning": "! ", "info": "i "}
"""Severities without colour."""


def stamp(time_us: int, *, form: str = "%H:%M:%S") -> str:
    """A time in the reader's zone."""
    return time.strftime(form, time.localtime(time_us / 1e6))


def day_time(time_us: int) -> str:
    """A day and a time in the reader's zone."""
    return stamp(time_us, form="%d %b %H:%M")


def styled(text: str, style: str = "") -> Content:
    """Give text of one style; foreign text is no markup here."""
    return Content.styled(text, style) if style else Content(text)


def word(state: str) -> Content:
    """Give a state in its colour."""
    return styled(clean(state), STYLES.get(state, ""))


def joined(lines: Iterable[str | Content]) -> Content:
    """Give lines as one content."""
    return Content("\n").join(
        line if isinstance(line, Content) else Content(line) for line in lines
    )


def complaint(error: StackctlError) -> Content:
    """Say what failed and what mends it."""
    said = Content.assemble(("error: ", "$text-error"), clean(error.message))
    if not error.hint:
        return said
    return joined([said, Content.assemble(("fix: ", "bold"), clean(error.hint))])


def stale(slot: Slot) -> str:
    """Say since when a slot has had no new answer, and why; empty while it is fresh."""
    if slot.error is None or not slot.at:
        return ""
    why = clean(slot.error.message).replace("[", "(")
    return f"stale since {stamp(int(slot.at * 1e6))}: {why}"


def tinted(line: str, style: str) -> Content:
    """Give a line of a chart with what is drawn in a style, its axes plain."""
    text = Content(line)
    for found in DRAWN.finditer(line):
        text = text.stylize(style, *found.span())
    return text


def number(value: float) -> str:
    """A count on an axis or in a sentence: ``950``, ``1.2k``, ``3.4M``."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def measured(value: float, unit: str) -> str:
    """A figure with its unit, as the contracts name units."""
    if unit == "s":
        return duration(value)
    if unit == "ratio":
        return f"{value:.3g}" if value > 10 else f"{value:.1%}"
    if not unit:
        return number(value)
    if unit == "1/s":
        return f"{number(value)}/s"
    return f"{number(value)} {clean(unit)}"


def span(seconds: int) -> str:
    """A length of time without what is zero: ``2 min``, ``90 s``, ``4 h``."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds and not seconds % length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def ago(seconds: float) -> str:
    """An age in its largest unit: ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
