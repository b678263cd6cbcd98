"""The daemon itself: status, health, configuration."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stackctl.contracts.device import Device
from stackctl.contracts.event import Summary
from stackctl.contracts.job import Job
from stackctl.contracts.search import Collection


class AreaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """State of one area."""

    name: str
    state: Literal["ready", "degraded", "off"]
    reason: str = ""
    hint: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    version: str
    api: str
    pid: int
    target: str
    started_at: str
    uptime_s: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture on one page."""

    daemon: Version
    areas: list[AreaHealth]
    devices: list[Device]
    collections: list[Collection]
    jobs: list[Job]
    """Those queued or running."""
    summary: Summary | None
    memory_rss_bytes: int
    api_url: str = ""
    """Where OpenAI's and the other protocols are served; empty: no port is open."""


class Shutdown(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon agreed to end."""

    pid: int


class ConfigReply(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force."""

    values: dict[str, Any]
    sources: list[str]
    """Files and variables that were read, weakest first."""


class Repair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask an area to rebuild its derived data or set a corrupt store aside."""

    area: Literal["search", "analytics", "jobs"]


class RepairReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the repair did."""

    area: str
    actions: list[str]
