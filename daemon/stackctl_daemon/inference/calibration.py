"""The batch budget from which on a device gains nothing; refuses to compute by itself.

A batch that is too small leaves a device idle, one that is too large only makes others wait.
So budgets are doubled until throughput stops growing, and the smallest that is within 5 % of
the best is kept: the knee.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from stackctl.contracts.device import Device
from stackctl.errors import Invalid
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Adapter, Input, Texts, Unit
from stackctl_daemon.inference.state_file import StateFile

TOKEN_BUDGETS = [2**power for power in range(8, 17)]
"""256 to 65,536 padded tokens; below, what a batch costs beside computing begins to show."""
ITEM_BUDGETS = [2**power for power in range(8)]
"""1 to 128 inputs of one size."""
SAMPLE_TOKENS = (16, 64, 128)
"""Lengths of the texts that are measured: together they are what a mixed load looks like."""
_NEAR_BEST = 0.95
_RUNS = 2

Measure = Callable[[int], list[tuple[int, int, float]]]
"""From a budget: inputs, padded cost and seconds of each batch of one pass."""


class Row(NamedTuple):
    """One budget as it was measured."""

    budget: int
    items: int
    cost: int
    duration_s: float

    @property
    def rate(self) -> float:
        """Padded cost per second."""
        return self.cost / max(self.duration_s, 1e-9)


class Sweep:
    """A calibration in steps, so that requests get in between."""

    def __init__(
        self,
        measure: Measure,
        budgets: Sequence[int],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows: list[Row] = []
        self.batches: list[tuple[int, float]] = []
        """Padded cost and seconds of every batch."""
        self.problem = ""
        """Why it ended early."""
        self._measure = measure
        self._left = [budget for budget in budgets for _ in range(_RUNS)]
        self._seconds = seconds
        self._clock = clock

    def step(self) -> bool:
        """Measure once; False when there is nothing more to learn."""
        if not self._left or self._flat():
            return False
        budget = self._left.pop(0)
        begun = self._clock()
        try:
            done = self._measure(budget)
        except Exception as err:  # out of memory, or a graph of a fixed batch: the end of the line
            self.problem = f"a budget of {budget} fails: {err}"
            return False
        self._seconds -= self._clock() - begun
        self.batches += [(cost, took) for _, cost, took in done]
        items, cost = sum(one[0] for one in done), sum(one[1] for one in done)
        duration_s = sum(one[2] for one in done)
        row = Row(budget, items, cost, duration_s)
        if self.rows and self.rows[-1].budget == budget:
            row = max(self.rows.pop(), row, key=lambda r: r.rate)
        self.rows.append(row)
        # The next pass takes about twice as long: it must fit in what is left.
        return self._seconds > 2 * duration_s

    @property
    def knee(self) -> int:
        """The smallest budget within 5 % of the best; 0 where nothing was measured."""
        best = max((row.rate for row in self.rows), default=0.0)
        near = [row.budget for row in self.rows if row.rate >= _NEAR_BEST * best]
        return min(near, default=0)

    def _flat(self) -> bool:
        """Two doublings in a row brought nothing."""
        if len(self.rows) < 3 or (self._left and self._left[0] == self.rows[-1].budget):
            return False
        best = max(row.rate for row in self.rows[:-2])
        return max(row.rate for row in self.rows[-2:]) < best * 1.02


def samples(adapter: Adapter, seen: Unit | None) -> tuple[Measure, list[int]]:
    """Give what runs batches of a model, and the budgets worth trying.

    Args:
        adapter: the loaded model.
        seen: an input that it was asked for, made ready; None when there was none.

    Raises:
        Invalid: it reads no text and was never asked for anything.
    """
    if isinstance(adapter, Texts) and adapter.budget(64) == 64:
        groups = [_text_units(adapter, tokens) for tokens in SAMPLE_TOKENS]
        budgets = TOKEN_BUDGETS
    elif isinstance(adapter, Texts):
        groups, budgets = [_text_units(adapter, SAMPLE_TOKENS[0])], ITEM_BUDGETS
    elif seen is not None:
        groups, budgets = [seen], [budget * max(1, seen.cost) for budget in ITEM_BUDGETS]
    else:
        raise Invalid(
            f'model "{adapter.spec.name}" reads no text, and has seen no input to be tuned with',
            hint=f"stackctl models run {adapter.spec.name} FILE",
        )

    def measure(budget: int) -> list[tuple[int, int, float]]:
        done = []
        for unit in groups:
            count = max(1, budget // max(1, unit.cost))
            begun = time.monotonic()
            adapter.compute([unit] * count)
            done.append((count, count * unit.cost, time.monotonic() - begun))
        return done

    return measure, budgets


def _text_units(adapter: Adapter, tokens: int) -> Unit:
    """Give a text of about so many tokens, made ready."""
    text = Input(text="signal " * max(1, tokens - 2))
    [unit] = adapter.prepare([text], adapter.sample_options)
    return unit


N = TypeVar("N", bound=float)


class Knees(Generic[N]):
    """What was found, budgets or inputs per second, by model and device; kept on disk."""

    def __init__(self, file: StateFile[N]) -> None:
        self._file = file
        self._known = file.read()

    def get(self, key: str, device: Device) -> N | int:
        """Give what was found of a model on a device; 0: it was never measured."""
        return self._known.get(_name(key, device), 0)

    def put(self, key: str, device: Device, found: N) -> None:
        """Note it and write it."""
        self._known[_name(key, device)] = found
        self._file.write(dict(self._known))

    def forget(self, name: str) -> None:
        """Drop what was found of every version of a model."""
        kept = {key: value for key, value in self._known.items() if not key.startswith(f"{name}@")}
        if kept != self._known:
            self._known = kept
            self._file.write(dict(kept))


def tuned_as(load: wire.Load) -> str:
    """Give the name of what is tuned: with replicas, fewer threads compute each batch."""
    return f"{load.key} x{load.replicas}" if load.replicas > 1 else load.key


def _name(key: str, device: Device) -> str:
    cores = f", {len(device.cores)} cores" if device.cores else ""
    return f"{key} on {device.name}{cores}"
