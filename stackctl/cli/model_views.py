"""How models on devices read: columns and lines; refuses to ask the daemon anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stackctl.cli.output import Output
from stackctl.cli.table import Column
from stackctl.cli.text import clean, duration, local_time, size, visible_width
from stackctl.cli.views import job_lines, measured, wrapped
from stackctl.client.view import mapping

if TYPE_CHECKING:
    from stackctl.contracts.inference import Placement, RunningList, UnloadReply
    from stackctl.contracts.job import Job

# The optional ones by what they tell: the rightmost go first where a terminal is narrow.
RUNNING = [
    Column("MODEL", lambda m: m.model),
    Column("DEVICE", lambda m: m.device),
    Column("STATE", lambda m: m.state),
    Column("MEMORY", lambda m: size(m.memory_bytes), lambda m: m.memory_bytes, right=True),
    Column(
        "P95",
        lambda m: _p95(m.latency_p95_ms, m.latency_target_ms),
        lambda m: m.latency_p95_ms,
        right=True,
        optional=True,
    ),
    Column("IN USE", lambda m: m.in_use, right=True, optional=True),
    Column(
        "EXPIRES",
        lambda m: "pinned" if m.pinned else _when(m.expires_at),
        lambda m: m.expires_at,
        optional=True,
    ),
    Column("MOST QUEUED", lambda m: m.max_queued or None, right=True, optional=True),
    Column(
        "TIMEOUT",
        lambda m: _timeout(m.timeout_s),
        lambda m: m.timeout_s,
        right=True,
        optional=True,
    ),
    Column("REPLICAS", lambda m: m.replicas, right=True, optional=True),
    Column("BATCH", lambda m: m.batch_budget or None, right=True, optional=True),
    Column("USED", lambda m: _when(m.used_at), lambda m: m.used_at, optional=True),
    Column("LOADED IN", lambda m: duration(m.load_s), lambda m: m.load_s, optional=True),
    Column("VERSION", lambda m: m.version, optional=True),
    Column("ALIASES", lambda m: ", ".join(m.aliases), optional=True, shrink=True),
]
WORKERS = [
    Column("DEVICE", lambda w: w.device),
    Column(
        "WORKER HOLDS", lambda w: measured(w.memory_bytes), lambda w: w.memory_bytes, right=True
    ),
    Column("MODELS", lambda w: size(w.models_bytes), lambda w: w.models_bytes, right=True),
    Column("ABOVE", lambda w: measured(w.above_bytes), lambda w: w.above_bytes, right=True),
]
VERDICTS = [
    Column("DEVICE", lambda v: v.device),
    Column("DECISION", lambda v: v.decision),
    Column("NEEDS", lambda v: size(v.needed_bytes), lambda v: v.needed_bytes, right=True),
    Column("FREE", lambda v: _free(v.free_bytes), lambda v: v.free_bytes, right=True),
    Column(
        "EVICTABLE",
        lambda v: size(v.reclaimable_bytes),
        lambda v: v.reclaimable_bytes,
        right=True,
        optional=True,
    ),
    Column("QUEUE", lambda v: v.queued, right=True, optional=True),
    Column("REASON", lambda v: v.reason, shrink=True),
]
ALIASES = [Column("ALIAS", lambda a: a.alias), Column("MODEL", lambda a: a.model)]
BUDGETS = [
    Column("DEVICE", lambda r: r["device"]),
    Column("BUDGET", lambda r: r["budget"], right=True),
    Column("INPUTS", lambda r: r["items"], right=True),
    Column("TOOK", lambda r: duration(r["duration_s"]), lambda r: r["duration_s"], right=True),
    Column(
        "PER SECOND", lambda r: f"{r['rate_per_s']:.0f}", lambda r: r["rate_per_s"], right=True
    ),
    Column("CHOSEN", lambda r: "*" if r["chosen"] else None),
]


def worker_lines(output: Output, found: RunningList) -> Iterator[str]:
    """Give what the workers that hold models really take."""
    if found.workers:
        yield ""
        yield from output.table(found.workers, WORKERS)


def unloaded_lines(reply: UnloadReply) -> Iterator[str]:
    """Say what unloading gave back."""
    for gone in reply.items:
        again = ", its worker was ended" if gone.recycled else ""
        yield (
            f"unloaded {gone.model} from {gone.device}: it had taken {size(gone.memory_bytes)},"
            f" {size(gone.returned_bytes)} came back{again}"
        )


def placement_lines(output: Output, found: Placement) -> Iterator[str]:
    """Say where a model is or would go."""
    yield f"{found.model} needs {size(found.needed_bytes)} ({found.basis})"
    if found.prediction_error is not None:
        yield (
            f"predicted before it was first loaded: {size(found.predicted_bytes)},"
            f" {abs(found.prediction_error):.0%} too"
            f" {'much' if found.prediction_error > 0 else 'little'}"
        )
    rates = {v.device: v.rate_per_s for v in found.devices if v.rate_per_s}
    told = ", ".join(f"{rate:.0f} inputs/s on {device}" for device, rate in rates.items())
    yield f"rate: {told or f'not measured yet: stackctl models tune {found.model}'}"
    inputs = "input" if found.max_queued == 1 else "inputs"
    queued = f"{found.max_queued} {inputs} may wait" if found.max_queued else ""
    timeout = _timeout(found.timeout_s)
    waits = f"a request that says nothing waits {timeout}" if timeout else ""
    yield f"limits: {', '.join(filter(None, (queued, waits))) or 'none of its own'}"
    yield from _verdict_lines(output, found)


def tuning_lines(output: Output, job: Job) -> Iterator[str]:
    """Give what a calibration measured."""
    if job.state != "succeeded":
        yield from job_lines(output, job)
        return
    rows = [
        {"device": device["device"], "chosen": row["budget"] == device["budget"], **mapping(row)}
        for device in mapping(job.result)["devices"]
        for row in device["rows"]
    ]
    yield from output.table(rows, BUDGETS)


def _verdict_lines(output: Output, found: Placement) -> Iterator[str]:
    """Give a table, the reasons below it where they would be cut: they are what was asked."""
    longest = max((len(clean(verdict.reason)) for verdict in found.devices), default=0)
    others = [column for column in VERDICTS if column.head != "REASON"]
    lines = output.table(found.devices, others)
    if output.width is None or visible_width(lines[0]) + 2 + longest <= output.width:
        yield from output.table(found.devices, VERDICTS)
        return
    yield from lines
    for verdict in found.devices:
        first, *rest = clean(verdict.reason).split(", ")
        yield from wrapped(output, f"{verdict.device}: {first}", rest)


def _when(time: str) -> str | None:
    return local_time(time) if time else None


def _timeout(seconds: float) -> str | None:
    return duration(seconds) if seconds else None


def _p95(measured_ms: float, target_ms: float) -> str | None:
    """Give a measured latency beside its target."""
    if not target_ms:
        return None
    return f"{measured_ms:.0f} of {target_ms:g} ms" if measured_ms else f"? of {target_ms:g} ms"


def _free(count: int) -> str | None:
    """Nothing measures it where there is more than any machine has."""
    return None if count >= 1 << 53 else size(count)
