"""Insights: what changed, since when, how sure, why, and what to do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stackctl.contracts.analytics import Query

InsightKind = Literal[
    "latency-shift",
    "error-burst",
    "traffic-drop",
    "traffic-surge",
    "change-point",
    "noisy-user",
    "cold-model",
    "crash-loop",
    "saturation",
    "disk-forecast",
    "memory-growth",
    "silent-source",
    "slow-job",
    "device-lost",
]
Severity = Literal["info", "warning", "critical"]
InsightState = Literal["open", "resolved", "muted"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A figure before and after."""

    measure: str
    before: float
    after: float
    unit: str = ""


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """One thing worth knowing, with its evidence."""

    id: str
    """The same for as long as it is the same incident."""
    kind: InsightKind
    severity: Severity
    state: InsightState
    title: str
    """One line: what changed, in words and figures."""
    subject: dict[str, str]
    """The dimension that explains most of it, such as ``{"model": "minilm"}``."""
    change: Change
    began_us: int
    seen_us: int
    """When it was last true."""
    resolved_us: int = 0
    """0: it is still true."""
    confidence: float
    """0 to 1."""
    score: float
    """Rank: the greatest first."""
    why: list[str] = []
    """Sentences with figures."""
    query: Query | None = None
    """What to ask to see it."""
    evidence: list[list[Any]] = []
    """``[time_us, value, expected]`` of the measure around its beginning."""
    action: str = ""
    """A command that can be run as it stands."""
    resolves: str = ""
    """When it counts as over, in words."""
    muted_reason: str = ""
    muted_until_us: int = 0


class InsightList(msgspec.Struct, frozen=True, kw_only=True):
    """Insights, the greatest score first."""

    items: list[Insight]
    checked_us: int = 0
    """When the engine last looked; 0: not yet."""
    problem: str = ""
    """Why it could not look, where it could not."""


class Mute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say no more of an insight."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    for_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0
