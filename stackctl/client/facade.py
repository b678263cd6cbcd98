"""The client: one group of calls a noun over one transport; refuses to know any route."""

from __future__ import annotations

from stackctl.client.analytics import AnalyticsCalls
from stackctl.client.devices import DeviceCalls
from stackctl.client.insights import InsightCalls
from stackctl.client.jobs import JobCalls
from stackctl.client.models import ModelCalls
from stackctl.client.search import SearchCalls
from stackctl.client.system import SystemCalls
from stackctl.client.transport import Transport


class Client:
    """Everything a front end may ask of the daemon.

    Each call opens its own connection, so one client may serve several threads.
    """

    def __init__(self, transport: Transport | None = None) -> None:
        self.transport = transport or Transport()
        self.system = SystemCalls(self.transport)
        self.jobs = JobCalls(self.transport)
        self.models = ModelCalls(self.transport)
        self.devices = DeviceCalls(self.transport)
        self.search = SearchCalls(self.transport)
        self.analytics = AnalyticsCalls(self.transport)
        self.insights = InsightCalls(self.transport)
