"""Models: the running ones and the catalogue; loads and unloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.widget import Widget

from stackctl.cli.model_views import RUNNING
from stackctl.cli.views import MODELS
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.listing import Listing


class ModelsPage(Page):
    """Two listings."""

    NAME = "models"

    def needs(self) -> Sequence[Need]:
        """What devices hold, and what there is."""
        return [
            Need("running", lambda client, frame: client.models.running()),
            Need("catalogue", lambda client, frame: client.models.list()),
        ]

    def body(self) -> Iterable[Widget]:
        """Running above, catalogue below."""
        yield Listing(
            "Running (u unloads)",
            "running",
            RUNNING,
            id="running",
            key=lambda model: f"{model.model} {model.device}",
            empty="no model is loaded: select one below and press l",
        )
        yield Listing(
            "Catalogue (l loads)",
            "catalogue",
            MODELS,
            id="catalogue",
            key=lambda model: str(model.name),
            empty="the catalogue is empty",
        )

    def action_load(self) -> None:
        """Load what is selected in the catalogue."""
        model = self.query_one("#catalogue", Listing).selected
        if model is None:
            self.notify("no model is selected in the catalogue", severity="warning")
            return
        self.act(f"load {model.name}", lambda client: client.models.load(model.name))

    def action_unload(self) -> None:
        """Unload what is selected among the running."""
        model = self.query_one("#running", Listing).selected
        if model is None:
            self.notify("no running model is selected", severity="warning")
            return
        self.act(
            f"unload {model.model} from {model.device}",
            lambda client: client.models.unload(model.model, device=model.device),
        )
