"""How insights read as text; refuses to ask the daemon anything."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stackctl.cli.output import Output
from stackctl.cli.table import Column
from stackctl.cli.text import clean
from stackctl.client.view import encode, mapping

if TYPE_CHECKING:
    from stackctl.contracts.insight import Insight, InsightList

STYLES = {"critical": ("red", "bold"), "warning": ("yellow",), "info": ("cyan",)}
BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 40
WIDEST = 100
STATES = ("open", "resolved", "muted", "all")


def moment(time_us: int) -> str:
    """Give a time of the wire in the reader's zone, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_us / 1_000_000))


INSIGHTS = [
    Column("ID", lambda i: i.id),
    Column("SEVERITY", lambda i: i.severity, optional=True),
    Column("STATE", lambda i: i.state, optional=True),
    Column("SINCE", lambda i: moment(i.began_us), lambda i: i.began_us, optional=True),
    Column("INSIGHT", lambda i: i.title, shrink=True),
]


def foot(found: InsightList) -> list[str]:
    """Say below a list why the engine could not look, where it could not."""
    return [f"not up to date: {clean(found.problem)}"] if found.problem else []


def nothing(found: InsightList, state: str) -> str:
    """Say that a list is empty, and since when that is known."""
    if not found.checked_us:
        return "no insights yet: the engine has not looked (see insights.interval_s)"
    what = "insights" if state == "all" else f"{state} insights"
    return f"no {what} (looked at {moment(found.checked_us)})"


def insight_lines(output: Output, insight: Insight) -> Iterator[str]:
    """Give an insight in full, folded to the terminal."""
    width = min(output.width or WIDEST, WIDEST)
    for number, line in enumerate(textwrap.wrap(clean(insight.title), width)):
        yield output.style(line, *STYLES.get(insight.severity, ())) if not number else line
    rows = [("id", insight.id), ("state", _state(insight)), ("since", moment(insight.began_us))]
    rows.append(("confidence", f"{insight.confidence:.0%}"))
    rows += [("why" if not number else "", why) for number, why in enumerate(insight.why)]
    if bars := sparkline([point[1] for point in insight.evidence]):
        rows.append(("seen", bars))
    if insight.action:
        rows.append(("try", insight.action))
    rows.append(("over when", insight.resolves))
    if insight.query is not None:
        asked = {name: value for name, value in mapping(insight.query).items() if value}
        rows.append(("query", encode(asked)))
    for name, text in rows:
        yield from _folded(name, clean(text), width)


def sparkline(values: Sequence[float]) -> str:
    """Draw values as bars from 0 to the greatest, at most `MOST_BARS` of them."""
    if not values:
        return ""
    step = max(1, -(-len(values) // MOST_BARS))
    shown = [max(values[at : at + step]) for at in range(0, len(values), step)]
    most = max(shown)
    if most <= 0:
        return BARS[0] * len(shown)
    return "".join(BARS[min(7, int(max(value, 0) / most * 7.999))] for value in shown)


def muted_lines(insight: Insight) -> list[str]:
    """Say until when an insight is muted, and how to take it back."""
    until = moment(insight.muted_until_us)
    return [f"{insight.id} is muted until {until}", f"  stackctl insights unmute {insight.id}"]


def _state(insight: Any) -> str:
    if insight.state == "muted":
        return f"muted until {moment(insight.muted_until_us)}: {insight.muted_reason}"
    if insight.state == "resolved":
        return f"resolved at {moment(insight.resolved_us)}"
    return f"{insight.state}, {insight.severity}"


def _folded(name: str, text: str, width: int) -> list[str]:
    head, room = f"  {name:<10}  ", max(20, width - 14)
    lines = textwrap.wrap(text, room, break_long_words=True) or [""]
    return [f"{head if not number else ' ' * 14}{line}" for number, line in enumerate(lines)]
