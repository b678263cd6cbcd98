"""Settings: what is in force and where it came from; refuses to change anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from stackctl.cli.text import clean
from stackctl.client.view import encode, mapping
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.panel import Panel, Space
from stackctl.tui.words import styled


class SettingsPage(Page):
    """The configuration that the daemon runs with."""

    NAME = "settings"

    def needs(self) -> Sequence[Need]:
        """The configuration."""
        return [Need("config", lambda client, frame: client.system.config())]

    def body(self) -> Iterable[Widget]:
        """One panel that scrolls."""
        panel = Panel(
            "Settings in force (changed in stackctl.toml)", "config", _lines, empty="no settings"
        )
        yield VerticalScroll(panel, classes="scroll")


def _lines(found: Any, space: Space) -> list[str | Content]:
    lines: list[str | Content] = [f"read, weakest first: {clean(', '.join(found.sources))}"]
    for section, values in sorted(mapping(found.values).items()):
        lines += ["", styled(f"[{clean(section)}]", "bold")]
        rows = sorted(mapping(values).items())
        longest = max((len(name) for name, _ in rows), default=0)
        lines += [
            clean(f"{name:<{longest}}  {encode(value)}")[: space.width] for name, value in rows
        ]
    return lines
