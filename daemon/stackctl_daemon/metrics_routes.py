"""The daemon's figures as Prometheus scrapes them; refuses to compute any that nothing counts.

What an area cannot tell now is absent from the answer, and the area's ``stackctl_area_up`` is 0:
a scrape never fails as a whole.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl import __version__
from stackctl.contracts.device import Device
from stackctl.contracts.job import JobState
from stackctl.errors import StackctlError
from stackctl_daemon.exposition import CONTENT_TYPE, Family, render
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.tally import BOUNDS_S, KINDS, Series, Tally

if TYPE_CHECKING:
    from stackctl_daemon.app import App

_JOB_STATES: tuple[JobState, ...] = ("queued", "running")
_PLURALS = {"request": "requests", "inference": "inferences", "job": "jobs"}
_TOLD = {
    "request": "Requests that were answered",
    "inference": "Batches that were computed",
    "job": "Jobs that ended",
}


def routes(app: App) -> list[Route]:
    """Give the route that is scraped."""

    async def scrape(request: Request) -> Reply:
        return Reply(render(await families(app)), content_type=CONTENT_TYPE)

    return [
        Route(
            name="metrics.scrape",
            method="GET",
            path="/metrics",
            permission="read",
            handler=scrape,
            summary="Counters, histograms and gauges in Prometheus's text format",
            also_replies=(CONTENT_TYPE,),
            listeners=("control", "api"),
        )
    ]


async def families(app: App) -> list[Family]:
    """Give everything that is counted or measured now."""
    found = [*of_events(app.tally), *of_process(app.started_s)]
    areas = Family("stackctl_area_up", "gauge", "Whether an area is usable: 1, else 0.")
    for area in app.areas:
        state = (await area.health()).state
        areas.add(float(state not in ("degraded", "off")), area=area.name)
    found.append(areas)
    found += of_devices(await app.list_devices())
    jobs = Counter(job.state for job in app.jobs.active())
    waiting = Family("stackctl_jobs", "gauge", "Jobs that have not ended, by state.")
    for which in _JOB_STATES:
        waiting.add(jobs[which], state=which)
    return [*found, waiting, *await _of_analytics(app)]


def of_events(tally: Tally) -> Iterator[Family]:
    """Give counters and histograms of each kind of events of the daemon's own."""
    snapshot = tally.snapshot()
    for kind in KINDS:
        yield from _of_kind(kind, {key: s for key, s in snapshot.items() if key[0] == kind})
    busy = Family(
        "stackctl_device_busy_seconds_total", "counter", "Time that the device computed batches."
    )
    for device, busy_s in tally.busy_s().items():
        busy.add(busy_s, device=device)
    yield busy


def _of_kind(kind: str, series: dict[tuple[str, str, str], Series]) -> Iterator[Family]:
    start = f"stackctl_{kind}"
    told = _TOLD[kind]
    total = Family(
        f"stackctl_{_PLURALS[kind]}_total", "counter", f"{told}, by name, model and outcome."
    )
    durations = Family(f"{start}_duration_seconds", "histogram", f"How long they took: {told}.")
    items = Family(f"{start}_items_total", "counter", "Inputs, rows or documents in them.")
    tokens = Family(f"{start}_tokens_total", "counter", "Tokens that were computed in them.")
    for (_, name, model), one in series.items():
        labels = {"name": name, "model": model}
        total.add(one.ok, **labels, outcome="ok")
        total.add(one.errors, **labels, outcome="error")
        durations.add_histogram(BOUNDS_S, one.buckets, one.duration_s, **labels)
        items.add(one.items, **labels)
        tokens.add(one.tokens, **labels)
    yield from (total, durations, items, tokens)


def of_devices(devices: list[Device]) -> Iterator[Family]:
    """Give what is measured of each device, and what waits there."""
    gauges = {
        "memory_total_bytes": "Memory of the device.",
        "memory_used_bytes": "Memory of the device that is used.",
        "models_memory_bytes": "Memory that loading its models took.",
        "worker_memory_bytes": "Memory that its worker holds.",
        "queued": "Inputs that wait there or are computed.",
        "temperature_c": "Degrees Celsius.",
        "power_w": "Watts.",
    }
    names = {
        "queued": "queued_inputs",
        "temperature_c": "temperature_celsius",
        "power_w": "power_watts",
    }
    for field, told in gauges.items():
        family = Family(f"stackctl_device_{names.get(field, field)}", "gauge", told)
        for device in devices:
            value = getattr(device, field)
            if value is not None:
                family.add(value, device=device.id)
        yield family
    busy = Family(
        "stackctl_device_busy_ratio", "gauge", "Share that the hardware says it is busy, 0 to 1."
    )
    ready = Family("stackctl_device_worker_ready", "gauge", "Whether its worker is ready: 1.")
    restarts = Family(
        "stackctl_device_worker_restarts_total", "counter", "Times that its worker began anew."
    )
    for device in devices:
        if device.utilisation is not None:
            busy.add(device.utilisation, device=device.id)
        ready.add(float(device.worker_state == "ready"), device=device.id)
        restarts.add(device.worker_restarts, device=device.id)
    yield from (busy, ready, restarts)


def of_process(started_s: float) -> Iterator[Family]:
    """Give what the kernel counts of the daemon's process, by Prometheus's own names."""
    info = Family("stackctl_build_info", "gauge", "The daemon's version; always 1.")
    info.add(1, version=__version__)
    cpu = Family("process_cpu_seconds_total", "counter", "User and system CPU time in seconds.")
    times = os.times()
    cpu.add(times.user + times.system)
    memory = Family("process_resident_memory_bytes", "gauge", "Resident memory in bytes.")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    memory.add(pages * os.sysconf("SC_PAGESIZE"))
    start = Family(
        "process_start_time_seconds", "gauge", "Start of the process since the Unix epoch."
    )
    start.add(round(time.time() - (time.monotonic() - started_s), 3))
    files = Family("process_open_fds", "gauge", "Open file descriptors.")
    files.add(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - a count, not paths
    yield from (info, cpu, memory, start, files)


async def _of_analytics(app: App) -> list[Family]:
    if app.analytics is None:
        return []
    dropped = Family("stackctl_events_dropped_total", "counter", "Own events that were lost.")
    dropped.add(app.analytics.dropped)
    taken = Family(
        "stackctl_otlp_records_total", "counter", "Records of OpenTelemetry, by what came of them."
    )
    cut = Family(
        "stackctl_otlp_truncated_total", "counter", "Stored records with attributes cut to 8 KiB."
    )
    for signal, one in app.otlp.taken.items():
        taken.add(one.stored, signal=signal, outcome="stored")
        taken.add(one.rejected, signal=signal, outcome="rejected")
        cut.add(one.truncated, signal=signal)
    found = [dropped, taken, cut]
    try:
        summary = await app.analytics.summary(1.0)
    except StackctlError:
        return found  # the area's health says why
    stored = Family("stackctl_events_stored", "gauge", "Events in the analytics store.")
    stored.add(summary.events_stored)
    pending = Family("stackctl_events_pending", "gauge", "Durable events that are not loaded yet.")
    pending.add(summary.events_pending)
    return [*found, stored, pending]
