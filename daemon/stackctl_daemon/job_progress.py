"""Rate and time left of a job, and when its row is worth writing; refuses to write it."""

from __future__ import annotations

from stackctl.contracts.job import JobProgress
from stackctl_daemon.clock import Clock

SAVE_INTERVAL_S = 0.5
"""A job's progress is written at most twice a second; each write is an fsync."""
RATE_MEMORY_S = 5.0
"""The rate is an exponential mean with this time constant."""
MIN_SAMPLE_S = 0.1


class ProgressMeter:
    """Turns counts into progress."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sampled_s = self._began_s = clock.monotonic_s()
        self._sampled_done: int | None = None
        self._rate_per_s = 0.0
        self._saved_s = clock.monotonic_s()
        self.last = JobProgress()

    def measure(self, done: int, total: int | None, *, unit: str, message: str) -> JobProgress:
        """Give the progress now, with the rate over the last seconds."""
        now_s = self._clock.monotonic_s()
        if self._sampled_done is None or done < self._sampled_done:
            self._sampled_done, self._sampled_s = done, now_s
        elapsed_s = now_s - self._sampled_s
        if elapsed_s >= MIN_SAMPLE_S:
            rate = (done - self._sampled_done) / elapsed_s
            weight = min(1.0, elapsed_s / RATE_MEMORY_S)
            self._rate_per_s = (
                rate
                if self._rate_per_s == 0.0
                else self._rate_per_s * (1 - weight) + rate * weight
            )
            self._sampled_done, self._sampled_s = done, now_s
        left = None if total is None else max(0, total - done)
        eta_s = left / self._rate_per_s if left is not None and self._rate_per_s > 0 else None
        self.last = JobProgress(
            done=done,
            total=total,
            unit=unit,
            rate_per_s=self._rate_per_s,
            eta_s=eta_s,
            message=message,
        )
        return self.last

    def due(self) -> bool:
        """Say whether the progress should be written now; True counts as written."""
        now_s = self._clock.monotonic_s()
        if now_s - self._saved_s < SAVE_INTERVAL_S:
            return False
        self._saved_s = now_s
        return True
