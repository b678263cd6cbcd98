"""Calls about devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.device import DeviceList


class DeviceCalls:
    """List."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> DeviceList:
        """Devices, and what kept others from being used."""
        return cast("DeviceList", self._transport.request("GET", "/v1/devices"))
