"""When events are too old to be kept, by a clock that may be wrong.

Refuses to delete. A clock that is ahead, for as long as it takes somebody to set it right, would
make events too old that are not: where time went on otherwise than the monotonic clock says, or
the first pass of a process would take an unlikely share, it waits for an hour of steady time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

HOUR_S = 3600.0
"""Between passes, and how long a clock that jumped is doubted."""
RETRY_S = 60.0
"""After a pass that failed."""
STEADY_S = 600.0
"""By so much may the two clocks differ in an hour: time servers step a clock by less."""
LIKELY_SHARE = 0.1
"""Of all events, that are too old at a start: ninetieths a day, where 90 days are kept."""
_DAY_US = 86_400_000_000


class Retention:
    """Decides when a pass is due, and up to when."""

    def __init__(
        self,
        days: int,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self._days = days
        self._now = now
        self._monotonic = monotonic
        self._seen = (now(), monotonic())
        self._due = 0.0
        self._first = True

    def cutoff_us(self, share_before: Callable[[int], float]) -> int | None:
        """Give the time before which events are too old; None when it is not time for a pass.

        Args:
            share_before: gives which part of all events, 0 to 1, a pass up to a time would take.
        """
        now_s, at_s = self._now(), self._monotonic()
        if self._days <= 0 or at_s < self._due:
            return None
        self._due = at_s + RETRY_S
        cutoff_us = int(now_s * 1e6) - self._days * _DAY_US
        drift_s = (now_s - self._seen[0]) - (at_s - self._seen[1])
        doubted = abs(drift_s) > STEADY_S or (
            self._first and share_before(cutoff_us) > LIKELY_SHARE
        )
        self._seen, self._first = (now_s, at_s), False
        if doubted:
            self._due = at_s + HOUR_S
            log.warning("retention_waits now_s=%.0f drift_s=%.0f", now_s, drift_s)
            return None
        return cutoff_us

    def done(self) -> None:
        """Say that the pass went well: the next one is due in an hour."""
        self._due = self._monotonic() + HOUR_S
