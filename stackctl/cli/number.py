"""Numbers of flags, checked; refuses what JSON cannot carry."""

from __future__ import annotations

import math

import typer


def finite(value: float | None) -> float | None:
    """Let a number through: ``nan`` and ``inf`` are floats to a parser, and mean nothing here.

    Raises:
        typer.BadParameter: it is not finite.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number, expected a finite one.")
    return value
