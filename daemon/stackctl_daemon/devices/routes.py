"""HTTP of the device area; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.device import DeviceList
from stackctl_daemon.devices.service import DeviceService
from stackctl_daemon.http.registry import Reply, Request, Route


def routes(service: DeviceService) -> list[Route]:
    """Give the routes of the device area."""

    async def list_devices(request: Request) -> Reply:
        return Reply(await service.list())

    return [
        Route(
            name="devices.list",
            method="GET",
            path="/v1/devices",
            permission="read",
            handler=list_devices,
            summary="List the devices and their workers.",
            reply=DeviceList,
        )
    ]
