"""Calls about insights."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.insight import Insight, InsightList


class InsightCalls:
    """List, show, mute."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, state: str = "open") -> InsightList:
        """Insights of a state, or of ``all``; the greatest score first."""
        path = f"/v1/insights?state={quote(state, safe='')}"
        return cast("InsightList", self._transport.request("GET", path))

    def show(self, insight: str) -> Insight:
        """One of them, with its evidence."""
        return cast("Insight", self._transport.request("GET", _path(insight)))

    def mute(self, insight: str, reason: str, *, for_s: float = 86_400.0) -> Insight:
        """Say no more of one for a while."""
        body = {"reason": reason, "for_s": for_s}
        return cast("Insight", self._transport.request("POST", f"{_path(insight)}/mute", body))

    def unmute(self, insight: str) -> Insight:
        """Speak of it again."""
        return cast("Insight", self._transport.request("POST", f"{_path(insight)}/unmute", {}))


def _path(insight: str) -> str:
    return f"/v1/insights/{quote(insight, safe='')}"
