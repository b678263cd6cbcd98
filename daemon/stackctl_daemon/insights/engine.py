"""From a panel to findings, and from findings to incidents with a life; pure functions.

Refuses to know where figures come from or where incidents are kept.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence

import msgspec

from stackctl.contracts.insight import Change, Insight
from stackctl_daemon.insights.detectors import ALL, Detector
from stackctl_daemon.insights.finding import MINUTE_US, Finding
from stackctl_daemon.insights.panel import Panel

log = logging.getLogger(__name__)

CALM_US = 15 * MINUTE_US
"""What was not true for so long is over."""
AGAIN_US = 60 * MINUTE_US
"""What comes back within this time is the same incident."""
CAUSES = {
    "change-point": ("latency-shift", "saturation"),
    "latency-shift": ("saturation",),
}
"""A finding of the first is left out where there is one of the others, which explains it."""
EXPLAINED = frozenset(
    {"latency-shift", "change-point", "traffic-drop", "traffic-surge", "error-burst", "saturation"}
)
"""Kinds of which one finding at a time is given, with the dimension that explains it best."""
RETOLD_US = 45 * MINUTE_US
WEIGHT = {"info": 1.0, "warning": 2.0, "critical": 3.0}


def find(
    panel: Panel, failed: list[str] | None = None, *, detectors: Sequence[Detector] = ALL
) -> list[Finding]:
    """Run every detector; what another finding explains is left out.

    Args:
        panel: what they look at.
        failed: takes what went wrong in a detector, and the others still run; None: it is raised.
        detectors: which.
    """
    found: list[Finding] = []
    for detect in detectors:
        try:
            found += detect(panel)
        except Exception as err:  # our bug in one of them must not silence the others
            if failed is None:
                raise
            name = f"{detect.__module__.rpartition('.')[2]}.{detect.__name__}"
            log.exception("detector_failed detector=%s", name)
            failed.append(f"detector {name} failed by our bug: {err!r}")
    kinds = {finding.kind for finding in found}
    return [f for f in found if not kinds.intersection(CAUSES.get(f.kind, ()))]


def identify(finding: Finding) -> str:
    """Give the id of an incident that begins with a finding: kind, subject and beginning."""
    parts = [finding.kind, *(f"{k}={v}" for k, v in sorted(finding.subject.items()))]
    text = "\0".join([*parts, str(finding.began)])
    return f"{finding.kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def advance(
    kept: Sequence[Insight], findings: Iterable[Finding], now_us: int
) -> dict[str, Insight]:
    """Give the incidents that are new or changed, by id.

    Args:
        kept: those that are known, resolved ones included.
        findings: what is true now.
        now_us: microseconds since the epoch.
    """
    changed: dict[str, Insight] = {}
    for finding in findings:
        old = _same(kept, finding, now_us, changed)
        new = _insight(finding, old, now_us)
        if old is not None and finding.kind in EXPLAINED and old.subject != finding.subject:
            new = _surer(old, new)
        if old is None:
            new = _muted_like(new, kept, now_us)
        changed[new.id] = new
    for insight in kept:
        if insight.id in changed:
            continue
        over = _aged(insight, now_us)
        if over is not insight:
            changed[insight.id] = over
    return changed


def mute(insight: Insight, reason: str, for_s: float, now_us: int) -> Insight:
    """Give the insight muted; a resolved one stays so, and keeps its next beginning quiet."""
    return msgspec.structs.replace(
        insight,
        state="resolved" if insight.resolved_us else "muted",
        muted_reason=reason,
        muted_until_us=now_us + int(for_s * 1_000_000),
    )


def unmute(insight: Insight) -> Insight:
    """Give the insight as if it had never been muted."""
    return msgspec.structs.replace(
        insight,
        state="resolved" if insight.resolved_us else "open",
        muted_reason="",
        muted_until_us=0,
    )


def ranked(insights: Iterable[Insight], state: str) -> list[Insight]:
    """Give those of a state, or all, the greatest score first."""
    chosen = [i for i in insights if state in ("all", i.state)]
    return sorted(chosen, key=lambda i: (-i.score, -i.began_us, i.id))


def _same(
    kept: Sequence[Insight], finding: Finding, now_us: int, taken: dict[str, Insight]
) -> Insight | None:
    for insight in kept:
        if insight.kind != finding.kind or insight.id in taken:
            continue
        recent = not insight.resolved_us or now_us - insight.resolved_us <= AGAIN_US
        if recent and _compatible(insight.subject, finding.subject):
            return insight
    return next((i for i in kept if i.id not in taken and _retold(i, finding)), None)


def _retold(insight: Insight, finding: Finding) -> bool:
    """Say whether a finding is the same change, explained by another dimension."""
    return (
        insight.kind == finding.kind
        and finding.kind in EXPLAINED
        and not insight.resolved_us
        and abs(insight.began_us - finding.began * MINUTE_US) <= RETOLD_US
        and not insight.subject.keys() & finding.subject.keys()
    )


def _compatible(one: dict[str, str], other: dict[str, str]) -> bool:
    """Say whether two subjects may be the same: nothing contradicts, and something agrees.

    A job's id tells an event, not a subject.
    """
    common = (one.keys() & other.keys()) - {"job_id"}
    if any(one[key] != other[key] for key in common):
        return False
    return bool(common) or not one or not other


def _surer(old: Insight, new: Insight) -> Insight:
    """Keep what was said when it was surer: at its end a change is explained by less."""
    if new.confidence >= old.confidence:
        return new
    return msgspec.structs.replace(old, state=new.state, seen_us=new.seen_us, resolved_us=0)


def _insight(finding: Finding, old: Insight | None, now_us: int) -> Insight:
    muted = old is not None and old.muted_until_us > now_us
    return Insight(
        id=old.id if old is not None else identify(finding),
        kind=finding.kind,
        severity=finding.severity,
        state="muted" if muted else "open",
        title=finding.title,
        subject=finding.subject,
        change=Change(
            measure=finding.measure, before=finding.before, after=finding.after, unit=finding.unit
        ),
        began_us=old.began_us if old is not None else finding.began * MINUTE_US,
        seen_us=now_us,
        confidence=round(finding.confidence, 3),
        score=round(_score(finding), 3),
        why=finding.why,
        query=finding.query,
        evidence=finding.evidence,
        action=finding.action,
        resolves=finding.resolves,
        muted_reason=old.muted_reason if muted and old is not None else "",
        muted_until_us=old.muted_until_us if muted and old is not None else 0,
    )


def _score(finding: Finding) -> float:
    """Severity counts most, then how sure, then how large the change is."""
    ratio = (abs(finding.after) + 1e-9) / (abs(finding.before) + 1e-9)
    size = min(abs(math.log2(ratio)), 10.0) / 10
    return WEIGHT[finding.severity] * finding.confidence + 0.5 * size


def _muted_like(new: Insight, kept: Sequence[Insight], now_us: int) -> Insight:
    for old in kept:
        if old.kind != new.kind or old.muted_until_us <= now_us:
            continue
        if _compatible(old.subject, new.subject):
            return msgspec.structs.replace(
                new,
                state="muted",
                muted_reason=old.muted_reason,
                muted_until_us=old.muted_until_us,
            )
    return new


def _aged(insight: Insight, now_us: int) -> Insight:
    """Resolve what is over, and speak again of what is no longer muted."""
    if not insight.resolved_us and now_us - insight.seen_us >= CALM_US:
        return msgspec.structs.replace(insight, state="resolved", resolved_us=now_us)
    if insight.state == "muted" and insight.muted_until_us <= now_us:
        return unmute(insight)
    return insight
