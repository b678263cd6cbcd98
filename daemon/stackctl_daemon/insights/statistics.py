"""Tests and estimators; refuses to know what the numbers are of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stackctl_daemon.insights.grid import FloatArray

Floats = NDArray[np.floating]


def surprise(observed: float, expected: float, spread: float = 0.0) -> float:
    """Give -ln of a bound on the chance to see a count so far from what was expected.

    The Chernoff bound of a Poisson tail, counts scaled down by ``variance / mean`` where they
    vary more than chance (``spread``: relative deviation of the rate). Source: Mitzenmacher &
    Upfal 2005, theorem 5.4; the scaling is quasi-Poisson (McCullagh & Nelder 1989).
    """
    expected = max(expected, 1e-9)
    scale = 1 / (1 + spread * spread * expected)
    if observed <= 0:
        return expected * scale
    return scale * (observed * math.log(observed / expected) - observed + expected)


def onset(values: Floats, middle: Floats | float, *, up: bool) -> int:
    """Give the index at which values passed to the other side of ``middle`` for good.

    Source: the maximum-likelihood reading of CUSUM (Page 1954; Hinkley 1970).
    """
    rest = np.nan_to_num(values - middle)
    total = np.cumsum(rest if up else -rest)
    before = np.concatenate([[0.0], total[:-1]])
    return int(np.argmin(before))


def trend(times: Floats, values: Floats) -> tuple[float, float]:
    """Give the Theil-Sen slope and Kendall's tau, from some 60 medians.

    Source: Sen 1968; Kendall 1938.
    """
    width = max(1, len(values) // 60)
    used = len(values) // width * width
    x = times[-used:].reshape(-1, width).mean(axis=1)
    y = np.median(values[-used:].reshape(-1, width), axis=1)
    first, second = np.triu_indices(len(x), 1)
    rise = y[second] - y[first]
    slope = float(np.median(rise / np.maximum(x[second] - x[first], 1e-9)))
    return slope, float(np.sign(rise).mean())


def split(values: Floats, least: int) -> tuple[int, float, float]:
    """Give the index that parts values best, the step there, and how sure (a t value).

    Medians give the step and absolute deviations the noise, so that a few outliers do not make
    one. Source: one step of binary segmentation (Scott & Knott 1974).
    """
    size = len(values)
    total = np.cumsum(values)
    left = np.arange(least, size - least + 1)
    mean_left = total[left - 1] / left
    mean_right = (total[-1] - total[left - 1]) / (size - left)
    weight = np.sqrt(left * (size - left) / size)
    at = int(left[np.argmax(np.abs(mean_right - mean_left) * weight)])
    step = float(np.median(values[at:]) - np.median(values[:at]))
    rest = np.concatenate(
        [values[:at] - np.median(values[:at]), values[at:] - np.median(values[at:])]
    )
    noise = max(1.4826 * float(np.median(np.abs(rest))), 1e-3)
    # Neighbours are alike: only part of what they say is new.
    alike = float(np.clip(np.corrcoef(rest[:-1], rest[1:])[0, 1] if rest.std() > 0 else 0, 0, 0.9))
    worth = math.sqrt(at * (size - at) / size * (1 - alike) / (1 + alike))
    return at, step, abs(step) / noise * worth


def confidence(nats: float) -> float:
    """Give 0.5 to 0.99 for how far a surprise is beyond the least that is told."""
    return float(min(0.99, 0.5 + 0.49 * (1 - math.exp(-max(nats, 0.0) / 18))))


def robust(values: Floats) -> tuple[float, float]:
    """Give median and scaled median absolute deviation."""
    centre = float(np.median(values))
    return centre, 1.4826 * float(np.median(np.abs(values - centre)))


def tail_sum(values: FloatArray, minutes: int) -> FloatArray:
    """Sum the last minutes of each row."""
    found: FloatArray = values[:, -minutes:].sum(axis=1)
    return found
