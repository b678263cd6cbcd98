"""A panel on which each minute is like any other, and means to disturb its last ones."""

from __future__ import annotations

import math

from stackctl_daemon.insights.grid import HOURS, MINUTES
from stackctl_daemon.insights.panel import Panel, Sample

END = 29_000_160 + 35 * 1440 + 600
"""A Thursday, ten o'clock."""
MODELS = ("minilm", "rerank")
DEVICES = ("cpu:0", "cpu:1")
USERS = ("1000", "1001", "1002")
P50_S = 0.1


class SteadyPanel:
    """Two requests a minute of each model, device and user, at 100 ms."""

    def __init__(self) -> None:
        self.panel = Panel()
        self.panel.begin(END)
        for model in MODELS:
            for device in DEVICES:
                self._fill("inference", (model, device), 6)
                for uid in USERS:
                    self._fill("answers", ("embed", model, device, uid), 2)
        self._fill("sources", ("request", "embed", "", "ok"), 24)
        self._fill("sources", ("metric", "temperature", "", "ok"), 1)
        self.panel.ready = True

    def _fill(self, grid: str, key: tuple[str, ...], count: float) -> None:
        target = getattr(self.panel, grid)
        timed = "log_s" in target.measures
        for at in range(MINUTES):
            # A little noise, the same in each run: nothing real is without.
            wobble = 0.05 * math.sin(at * 1.7 + len(target.keys))
            extra = {"log_s": math.log(P50_S) + wobble, "max_s": 2 * P50_S} if timed else {}
            target.put(key, END - 1 - at, {"count": count, **extra})
        for at in range(HOURS):
            extra = {"log_s": math.log(P50_S), "max_s": 2 * P50_S} if timed else {}
            target.put_hour(key, target.end_hour - 1 - at, {"count": 60 * count, **extra})

    def each(
        self, grid: str, minutes: int, *, ago: int = 0, where: str = "", **figures: float
    ) -> None:
        """Set figures of the last minutes in every group that holds a text."""
        target = getattr(self.panel, grid)
        for key in list(target.keys):
            if not where or where in key:
                for at in range(ago, ago + minutes):
                    target.put(key, END - 1 - at, figures)

    def put(
        self, grid: str, key: tuple[str, ...], minutes: int, count: float, *, every: int = 1
    ) -> None:
        """Set the count of one group, new or known, in the last minutes."""
        for at in range(0, minutes, every):
            getattr(self.panel, grid).put(key, END - 1 - at, {"count": count})

    def metric(self, name: str, values: list[float], *, every: int = 10) -> None:
        """Add samples that end now."""
        for at, value in enumerate(values):
            minute = END - every * (len(values) - at)
            self.panel.sample("metrics", (name, "", ""), Sample(minute, value))

    def job(self, name: str, ago: int, duration_s: float, job_id: str = "") -> None:
        """Add a job that ended."""
        self.panel.sample("jobs", (name,), Sample(END - ago, duration_s, job_id))
