"""What is usual."""

from __future__ import annotations

import numpy as np

from stackctl_daemon.insights.baseline import expected, profile
from stackctl_daemon.insights.grid import HOURS, MINUTES, Lines

END_HOUR = 483_000
ALWAYS = np.ones(MINUTES, np.float32)


def _weekly(level: float) -> np.ndarray:
    hour = np.arange(END_HOUR - HOURS, END_HOUR)
    return (level + 100 * (hour % 168))[None, :].astype(np.float32)


def test_an_hour_of_the_week_is_what_it_was_in_other_weeks_whatever_one_week_had() -> None:
    hours = _weekly(500)
    hours[0, -168:] *= 5  # a week of trouble

    found = profile(hours, np.ones(HOURS, np.float32), END_HOUR, log=False)

    assert np.array_equal(found.centre[0, :HOURS], _weekly(500)[0])
    assert found.centre[0, HOURS] == 500 + 100 * (END_HOUR % 168)


def test_hours_without_the_daemon_do_not_count() -> None:
    hours, heard = _weekly(500), np.ones(HOURS, np.float32)
    hours[0, -100:] = 0
    heard[-100:] = 0

    found = profile(hours, heard, END_HOUR, log=False)

    assert found.centre[0, HOURS - 1] == _weekly(500)[0, -1]


def test_with_some_days_the_hour_of_the_day_counts() -> None:
    heard = np.zeros(HOURS, np.float32)
    heard[-6 * 24 :] = 1
    hour = np.arange(END_HOUR - HOURS, END_HOUR) % 24
    hours = (100 + hour)[None, :].astype(np.float32)

    found = profile(hours, heard, END_HOUR, log=False)

    known = ~np.isnan(found.centre[0, :HOURS])
    assert known.any()
    assert np.array_equal(found.centre[0, :HOURS][known], hours[0][known])


def test_without_history_the_last_hours_stand_in() -> None:
    empty = np.zeros((1, HOURS), np.float32)
    usual = profile(empty, np.zeros(HOURS, np.float32), END_HOUR, log=False)
    minutes = np.full((1, MINUTES), 4, np.float32)

    found = expected(usual, Lines(["a"], minutes, empty), END_HOUR * 60, ALWAYS)

    assert np.all(found == 4)
    assert usual.spread[0] > 0.5


def test_minutes_before_the_daemon_ran_are_not_without_traffic() -> None:
    empty = np.zeros((1, HOURS), np.float32)
    usual = profile(empty, np.zeros(HOURS, np.float32), END_HOUR, log=False)
    alive = (np.arange(MINUTES) >= MINUTES - 120).astype(np.float32)

    found = expected(usual, Lines(["a"], 4 * alive[None, :], empty), END_HOUR * 60, alive)

    assert np.all(found == 4)


def test_minutes_lie_between_the_middles_of_hours() -> None:
    hours = np.where(np.arange(HOURS) % 2, 60, 120)[None, :].astype(np.float32)
    usual = profile(hours, np.ones(HOURS, np.float32), END_HOUR, log=False)

    lines = Lines(["a"], np.zeros((1, MINUTES), np.float32), hours)
    found = expected(usual, lines, END_HOUR * 60, ALWAYS)

    assert found[0, -30] == 1  # the middle of the last hour
    assert found[0, -90] == 2
    assert found[0, -60] == 1.5
