"""Devices: what they hold and how they do; refuses to change anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from textual.content import Content
from textual.widget import Widget

from stackctl.cli.text import clean, size
from stackctl.cli.views import DEVICES
from stackctl.tui.poller import Need
from stackctl.tui.screens.page import Page
from stackctl.tui.widgets.listing import Listing
from stackctl.tui.widgets.panel import Panel, Space
from stackctl.tui.words import styled, word


class DevicesPage(Page):
    """A listing, and the selected device in full."""

    NAME = "devices"

    def needs(self) -> Sequence[Need]:
        """The devices."""
        return [Need("devices", lambda client, frame: client.devices.list())]

    def body(self) -> Iterable[Widget]:
        """Listing above, detail below."""
        yield Listing(
            "Devices",
            "devices",
            DEVICES,
            key=lambda device: device.id,
            empty="no devices; fix: stackctl doctor",
        )
        yield Panel("Selected device", "device", self._detail, empty="no device is selected")

    def on_listing_selected(self, event: Listing.Selected) -> None:
        """Show the device under the cursor."""
        self.put("device", event.item)

    def _detail(self, device: Any, space: Space) -> list[str | Content]:
        if device is None:
            return []
        lines = list(_lines(device, space.width))
        problems = getattr(self.value("devices"), "problems", [])
        return [*lines, *(styled(f"note: {clean(text)}", "$text-warning") for text in problems)]


def _lines(device: Any, width: int) -> Iterator[str | Content]:
    fields = vars(device)
    yield Content(f"{device.id}  {clean(device.name)}  worker ") + word(device.worker_state)
    bar = gauge(device.memory_used_bytes, device.memory_total_bytes, min(width - 40, 40))
    yield f"memory    {bar} {size(device.memory_used_bytes)} of {size(device.memory_total_bytes)}"
    busy = fields.get("utilisation")
    shown = f"{gauge(busy, 1, min(width - 40, 40))} {busy:.0%}" if busy is not None else "-"
    yield f"busy      {shown}"
    figures = [
        ("queue", f"{device.queued} inputs"),
        ("models", clean(", ".join(device.models)) or "none loaded"),
        ("provider", device.execution_provider or "- (until a model is loaded)"),
        ("restarts", str(device.worker_restarts)),
        ("warmth", _with(fields.get("temperature_c"), "°C")),
        ("power", _with(fields.get("power_w"), "W")),
        ("ecc", _with(fields.get("ecc_errors"), "uncorrected errors")),
        ("driver", fields.get("driver_version") or ""),
        ("links", ", ".join(f"{link.device} {link.kind}" for link in fields.get("links") or [])),
    ]
    yield from (f"{name:<10}{value}" for name, value in figures if value)


def gauge(value: float, top: float, width: int) -> str:
    """Give a bar of blocks between brackets; its share is legible without colour."""
    width = max(width, 8)
    filled = round(min(max(value / top, 0.0), 1.0) * width) if top else 0
    return f"[{'█' * filled}{'·' * (width - filled)}]"


def _with(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}"
