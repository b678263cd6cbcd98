"""Jobs: how far they are; cancels them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual.widget import Widget

from stackctl.cli.output import Output
from stackctl.cli.views import JOBS, job_lines
from stackctl.client.jobs import ENDED
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.widgets.panel import Panel, Space


class JobsPage(Page):
    """A listing, and the selected job in full."""

    NAME = "jobs"

    def needs(self) -> Sequence[Need]:
        """Every job."""
        return [Need("jobs", lambda client, frame: client.jobs.list())]

    def body(self) -> Iterable[Widget]:
        """Listing above, detail below."""
        yield Listing(
            "Jobs, newest first",
            "jobs",
            JOBS,
            key=lambda job: str(job.id),
            empty="no jobs yet: stackctl index PATH starts one",
        )
        yield Panel("Selected job", "job", _detail, empty="no job is selected")

    def on_listing_selected(self, event: Listing.Selected) -> None:
        """Show the job under the cursor."""
        self.put("job", event.item)

    def action_cancel(self) -> None:
        """Cancel the selected job."""
        job = self.query_one(Listing).selected
        if job is None or job.state in ENDED:
            said = "no job is selected" if job is None else f"job {job.id} has {job.state} already"
            self.notify(said, severity="warning", markup=False)
            return
        self.act(f"cancel {job.id}", lambda client: client.jobs.cancel(job.id))


def _detail(job: Any, space: Space) -> list[str]:
    return [] if job is None else list(job_lines(Output(width=space.width), job))
