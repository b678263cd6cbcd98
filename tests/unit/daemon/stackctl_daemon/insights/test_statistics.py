"""Tests and estimators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.insights.statistics import confidence, onset, split, surprise, trend


@given(st.integers(0, 60), st.floats(0.5, 40))
def test_surprise_bounds_the_poisson_tail(observed: int, mean: float) -> None:
    chance = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(400)]
    tail = sum(chance[observed:]) if observed > mean else sum(chance[: observed + 1])

    assert math.exp(-surprise(observed, mean)) >= tail - 1e-12


def test_more_spread_is_less_surprise() -> None:
    assert surprise(100, 20, 0.5) < surprise(100, 20) / 2


@pytest.mark.parametrize("up", [True, False])
def test_onset_is_where_the_level_changed(up: bool) -> None:
    values = np.array([1.0, 2, 1, 3, 9, 8, 10, 7])
    values = values if up else 10 - values

    assert onset(values, 5.0, up=up) == 4


def test_trend_is_the_slope_whatever_a_few_outliers_are() -> None:
    times = np.arange(100.0)
    values = 5 - 2 * times
    values[::17] += 500

    slope, tau = trend(times, values)

    assert slope == pytest.approx(-2, abs=0.1)
    assert tau < -0.6


def test_split_finds_the_step_and_how_sure() -> None:
    random = np.random.default_rng(3)
    noise = random.normal(0, 0.1, 48)

    at, step, sure = split(noise + np.where(np.arange(48) >= 30, 0.5, 0), 6)
    _, _, none = split(noise, 6)

    assert at == 30
    assert step == pytest.approx(0.5, abs=0.1)
    assert sure > 8 > none


def test_confidence_grows_and_stays_below_one() -> None:
    assert 0.5 == confidence(0) < confidence(10) < confidence(1000) <= 0.99
