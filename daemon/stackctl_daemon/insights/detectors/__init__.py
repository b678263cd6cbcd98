"""Detectors: each looks at the panel and gives what it finds now; none knows of another."""

from __future__ import annotations

from collections.abc import Callable

from stackctl_daemon.insights.detectors import (
    cold,
    device,
    disk,
    errors,
    latency,
    memory,
    queueing,
    silence,
    slow_job,
    traffic,
    user,
)
from stackctl_daemon.insights.finding import Finding
from stackctl_daemon.insights.panel import Panel

Detector = Callable[[Panel], list[Finding]]
ALL: tuple[Detector, ...] = (
    traffic.detect,
    user.detect,
    latency.detect_shift,
    latency.detect_change_point,
    errors.detect_burst,
    errors.detect_crash_loop,
    queueing.detect,
    device.detect,
    cold.detect,
    disk.detect,
    memory.detect,
    silence.detect,
    slow_job.detect,
)
"""In no order that matters."""
