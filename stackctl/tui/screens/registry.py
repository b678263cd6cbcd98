"""Every screen by its name; refuses to draw."""

from __future__ import annotations

from typing import cast

from textual.screen import Screen

from stackctl.tui.screens.containers import ContainersPage
from stackctl.tui.screens.devices import DevicesPage
from stackctl.tui.screens.insights import InsightsPage
from stackctl.tui.screens.jobs import JobsPage
from stackctl.tui.screens.logs import LogsPage
from stackctl.tui.screens.models import ModelsPage
from stackctl.tui.screens.overview import OverviewPage
from stackctl.tui.screens.page import Page
from stackctl.tui.screens.requests import RequestsPage
from stackctl.tui.screens.search import SearchPage
from stackctl.tui.screens.settings import SettingsPage
from stackctl.tui.screens.sql import SqlPage

PAGES: dict[str, type[Page]] = {
    kind.NAME: kind
    for kind in (
        OverviewPage,
        DevicesPage,
        ModelsPage,
        ContainersPage,
        RequestsPage,
        SearchPage,
        JobsPage,
        InsightsPage,
        LogsPage,
        SqlPage,
        SettingsPage,
    )
}


def page(screen: Screen[object]) -> Page:
    """Give an installed screen as what it is."""
    return cast("Page", screen)
