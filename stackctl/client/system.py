"""Calls about the daemon itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.system import ConfigReply, RepairReply, Shutdown, Status, Version


class SystemCalls:
    """Version, status, shutdown, configuration, repair."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def version(self) -> Version:
        """Who answers."""
        return cast("Version", self._transport.request("GET", "/v1/version"))

    def status(self) -> Status:
        """The whole picture."""
        return cast("Status", self._transport.request("GET", "/v1/status"))

    def shutdown(self) -> Shutdown:
        """Ask the daemon to drain and end; it is still there when this returns."""
        return cast("Shutdown", self._transport.request("POST", "/v1/shutdown"))

    def config(self) -> ConfigReply:
        """The configuration that the daemon runs with."""
        return cast("ConfigReply", self._transport.request("GET", "/v1/config"))

    def reload(self) -> ConfigReply:
        """Read the configuration again, all or nothing."""
        return cast("ConfigReply", self._transport.request("POST", "/v1/config/reload"))

    def repair(self, area: str) -> RepairReply:
        """Rebuild an area's derived data, or set a corrupt store aside."""
        return cast(
            "RepairReply",
            self._transport.request("POST", "/v1/repair", {"area": area}, timeout_s=600.0),
        )
