from __future__ import annotations

import math

import pytest
import typer

from stackctl.cli.number import finite


@pytest.mark.parametrize("value", [None, 0.0, -1.5, 1e308])
def test_what_can_be_sent_goes_through(value: float | None) -> None:
    assert finite(value) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_usage_error(value: float) -> None:
    with pytest.raises(typer.BadParameter, match="expected a finite one"):
        finite(value)
