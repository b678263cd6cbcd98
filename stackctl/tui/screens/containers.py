"""Containers: says that there are none, because nothing of stackctl runs them yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page

TEXT = (
    "stackctl runs no containers yet: this screen has nothing to show, and no figure is made up.\n"
    "\n"
    "Models run in worker processes, one a device: press 2 (Devices) or 3 (Models)."
)


class ContainersPage(Page):
    """An honest empty screen."""

    NAME = "containers"

    def needs(self) -> Sequence[Need]:
        """Only whether the daemon is there."""
        return [Need("version", lambda client, frame: client.system.version())]

    def body(self) -> Iterable[Widget]:
        """Say why it is empty."""
        box = Static(Content(TEXT), markup=False, classes="box")
        box.border_title = "Containers"
        yield box
