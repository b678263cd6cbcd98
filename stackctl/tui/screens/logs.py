"""Logs: the end of the daemon's log file, which outlives the daemon; refuses to write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from stackctl import paths
from stackctl.cli import logfile
from stackctl.cli.output import Output
from stackctl.client import Client
from stackctl.tui.frame import Frame
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page, brief
from stackctl.tui.widgets.panel import Panel, Space

MOST = 500
"""Lines that are read at the end of the file."""


class LogsPage(Page):
    """The last lines, newest at the bottom."""

    NAME = "logs"

    def __init__(self) -> None:
        super().__init__()
        self._words = ""

    def needs(self) -> Sequence[Need]:
        """The file's end."""
        return [Need("log", _read)]

    def body(self) -> Iterable[Widget]:
        """The filter above the lines."""
        entry = Input(placeholder="words that a line must have")
        entry.display = False
        yield entry
        yield Panel("Log of the daemon", "log", self._lines, empty="no line has these words")

    def action_filter(self) -> None:
        """Write a filter."""
        entry = self.query_one(Input)
        entry.display = True
        entry.focus()

    def action_unfilter(self) -> None:
        """Remove it."""
        entry = self.query_one(Input)
        entry.value, entry.display = "", False
        self.set_focus(None)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one writes."""
        self._words = event.value
        self.query_one(Panel).redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave the filter, and keep it."""
        del event
        self.set_focus(None)

    def _lines(self, lines: Any, space: Space) -> list[str]:
        output = Output()
        kept = [line for line in lines if brief(line, self._words)]
        shown = [part for line in kept for part in logfile.human(output, line).splitlines()]
        return shown[-space.height :]


def _read(client: Client, frame: Frame) -> list[str]:
    del client, frame
    return list(logfile.read(paths.state_dir() / "stackctld.log", MOST))
