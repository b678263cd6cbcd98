from __future__ import annotations

from stackctl_daemon.analytics.retention import HOUR_S, RETRY_S, Retention

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0


class Clocks:
    """Two clocks that go on together until one is set."""

    def __init__(self) -> None:
        self.wall_s = NOW_S
        self.monotonic_s = 50.0
        self.share = 0.01
        self.retention = Retention(90, now=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)

    def go_on(self, elapsed_s: float) -> None:
        self.wall_s += elapsed_s
        self.monotonic_s += elapsed_s

    def cutoff_s(self) -> float | None:
        found = self.retention.cutoff_us(lambda cutoff_us: self.share)
        return None if found is None else found / 1e6


def test_a_pass_is_due_at_once_then_every_hour() -> None:
    clocks = Clocks()

    assert clocks.cutoff_s() == NOW_S - 90 * DAY_S
    clocks.retention.done()
    clocks.go_on(HOUR_S - 1)
    assert clocks.cutoff_s() is None
    clocks.go_on(1)
    assert clocks.cutoff_s() == NOW_S + HOUR_S - 90 * DAY_S


def test_a_pass_that_was_not_done_is_due_again_soon() -> None:
    clocks = Clocks()

    assert clocks.cutoff_s() is not None
    assert clocks.cutoff_s() is None
    clocks.go_on(RETRY_S)
    assert clocks.cutoff_s() is not None


def test_a_clock_that_jumps_ahead_and_back_makes_nothing_too_old() -> None:
    clocks = Clocks()
    clocks.cutoff_s()
    clocks.retention.done()

    clocks.go_on(HOUR_S)
    clocks.wall_s += 400 * DAY_S
    assert clocks.cutoff_s() is None
    clocks.wall_s -= 400 * DAY_S
    clocks.go_on(HOUR_S)
    assert clocks.cutoff_s() is None  # it jumped back since the last look
    clocks.go_on(HOUR_S)
    assert clocks.cutoff_s() == clocks.wall_s - 90 * DAY_S


def test_a_clock_that_stays_where_it_jumped_is_believed_after_an_hour() -> None:
    clocks = Clocks()
    clocks.wall_s += 400 * DAY_S

    assert clocks.cutoff_s() is None
    clocks.go_on(HOUR_S)
    assert clocks.cutoff_s() == clocks.wall_s - 90 * DAY_S


def test_a_start_at_which_many_events_are_too_old_waits_for_an_hour() -> None:
    """The clock may be wrong, or the daemon was away for long: in an hour it is the latter."""
    clocks = Clocks()
    clocks.share = 0.5

    assert clocks.cutoff_s() is None
    clocks.go_on(HOUR_S)
    assert clocks.cutoff_s() == clocks.wall_s - 90 * DAY_S


def test_no_days_means_that_everything_is_kept() -> None:
    assert Retention(0).cutoff_us(lambda cutoff_us: 0.0) is None
