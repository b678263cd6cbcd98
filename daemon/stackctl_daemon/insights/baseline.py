"""What is usual at an hour of the week; refuses to say whether something is wrong.

The centre is a median and the spread a scaled median absolute deviation, so that incidents of
the past hardly move them (Rousseeuw & Croux 1993). With at least three weeks the hour of the
week counts; with three days, the same hour of working days or of weekends; with less there is
no profile, and the last hours stand in for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stackctl_daemon.insights.grid import HOURS, MINUTES, WEEKS, FloatArray, Lines

THURSDAY = 3  # the epoch's weekday, Monday being 0
RECENT_SKIP = 45
"""Minutes before now that a baseline of the last hours leaves out: they may be the incident."""
TRAILING = 240
UNKNOWN_SPREAD = 0.6
"""Relative deviation of what has no history: the hours of a day may differ by so much."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Usual values of each hour of the ring and one day on."""

    centre: FloatArray
    """``(values, HOURS + 24)``; not a number where nothing is known."""
    spread: FloatArray
    """``(values,)``: relative to the centre, or absolute of logarithms."""
    end_hour: int


def profile(hours: FloatArray, heard: FloatArray, end_hour: int, *, log: bool) -> Profile:
    """Find the usual value of each hour.

    Args:
        hours: ``(values, HOURS)``.
        heard: ``(HOURS,)``, 1 where the daemon ran.
        end_hour: hour since the epoch at which the ring ends.
        log: the values are logarithms.
    """
    if not len(hours):
        return Profile(np.zeros((0, HOURS + 24), np.float32), np.zeros(0, np.float32), end_hour)
    data = np.where(heard > 0, hours, np.nan).astype(np.float32)
    weeks = data.reshape(len(data), WEEKS, 168)
    with np.errstate(all="ignore"):
        spare = _by_day_class(data, end_hour)
        # A logarithm of few requests is noisy, and hardly knows the day: ten days are better.
        centre = np.full((len(data), 168), np.nan) if log else _by_hour_of_week(weeks)
    # Hour 0 of the ring is WEEKS weeks before its end, so columns repeat each 168.
    whole = np.tile(centre, (1, WEEKS + 1))[:, : HOURS + 24]
    spare = np.concatenate([spare, spare[:, -168:-144]], axis=1)
    whole = np.where(np.isnan(whole), spare, whole)
    return Profile(whole, _spread(data, whole[:, :HOURS], log), end_hour)


def expected(
    usual: Profile, lines: Lines, end: int, alive: FloatArray, *, log: bool = False
) -> FloatArray:
    """Give what each minute of the ring should have been, ``(values, MINUTES)``.

    Between the middles of two hours it is interpolated. ``alive``: ``(MINUTES,)``, 1 where the
    daemon ran; minutes in which it did not are no minutes without traffic.
    """
    minutes = np.arange(end - MINUTES, end)
    first = usual.end_hour - HOURS
    place = (minutes - 30) / 60 - first
    low = np.clip(np.floor(place).astype(int), 0, HOURS + 22)
    part = (place - low).astype(np.float32)
    found = usual.centre[:, low] * (1 - part) + usual.centre[:, low + 1] * part
    found = found if log else found / 60
    recent = lines.minutes[:, -TRAILING:-RECENT_SKIP]
    with np.errstate(all="ignore"):
        ran = max(float(alive[-TRAILING:-RECENT_SKIP].sum()), 1.0)
        trailing = nanmedian(recent, 1) if log else recent.sum(axis=1) / ran
    whole: FloatArray = np.where(np.isnan(found), trailing[:, None], found).astype(np.float32)
    return whole


def _by_hour_of_week(weeks: FloatArray) -> FloatArray:
    known = (~np.isnan(weeks)).sum(axis=1)
    return np.where(known >= 3, nanmedian(weeks, 1), np.nan).astype(np.float32)


def _by_day_class(data: FloatArray, end_hour: int) -> FloatArray:
    """Medians of the last fourteen days, working days and weekends apart."""
    hour = np.arange(end_hour - HOURS, end_hour)
    weekend = ((hour // 24 + THURSDAY) % 7) >= 5
    kind = hour % 24 + 24 * weekend
    found = np.full(data.shape, np.nan, np.float32)
    recent = np.arange(HOURS) >= HOURS - 14 * 24
    for number in range(48):
        columns = data[:, (kind == number) & recent]
        known = (~np.isnan(columns)).sum(axis=1)
        enough = np.where(known >= 3, nanmedian(columns, 1), np.nan)
        found[:, kind == number] = enough[:, None]
    return found


def _spread(data: FloatArray, centre: FloatArray, log: bool) -> FloatArray:
    recent = slice(HOURS - 21 * 24, HOURS)
    values, usual = data[:, recent], centre[:, recent]
    if log:
        rest = np.abs(values - usual)
        noisy: FloatArray = np.maximum(1.4826 * nanmedian(rest, 1), 0.03).astype(np.float32)
        return noisy
    with np.errstate(all="ignore"):
        rest = np.where(usual >= 10, np.abs(values - usual) / np.maximum(usual, 1), np.nan)
        own = np.where(usual >= 10, 1 / np.maximum(usual, 1), np.nan)
        noise = np.nan_to_num(nanmedian(own, 1), nan=0.01)
        typical = np.nan_to_num(1.4826 * nanmedian(rest, 1), nan=UNKNOWN_SPREAD)
    # What chance alone would give is left out: tests add it for their own window.
    spread: FloatArray = np.sqrt(np.maximum(typical**2 - noise, 0.12**2)).astype(np.float32)
    return spread


def nanmedian(values: FloatArray, axis: int) -> FloatArray:
    """Median without what is not a number; not a number where nothing else is, silently."""
    ordered = np.sort(values, axis=axis)  # NaN last
    count = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[axis] - 1), axis)
    found = np.where(count > 0, (low + high) / 2, np.nan)
    median: FloatArray = np.squeeze(found, axis=axis).astype(np.float32)
    return median
