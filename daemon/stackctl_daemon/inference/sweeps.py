"""Calibrations under way in a worker; refuses to run while anybody waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stackctl.errors import StackctlError
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.calibration import Sweep, samples
from stackctl_daemon.inference.worker_state import Model


class Sweeps:
    """Runs one batch of a calibration each time the worker has nothing else to do."""

    def __init__(self, models: Mapping[str, Model], send: Callable[[wire.Report], None]) -> None:
        self._models = models
        self._send = send
        self._running: dict[str, Sweep] = {}

    def __bool__(self) -> bool:
        """Tell whether a batch may run: nobody's inputs are being made ready meanwhile."""
        return bool(self._running) and not any(m.preparing for m in self._models.values())

    def open(self, command: wire.Tune) -> None:
        """Begin to measure a model."""
        model = self._models.get(command.key)
        if model is None or model.adapter is None:
            self._send(wire.Tuned(command.key, [], 0, f"{command.key} is not loaded"))
            return
        try:
            measure, budgets = samples(model.adapter, model.sample)
        except Exception as err:  # an adapter may refuse the sample in any way
            text = err.message if isinstance(err, StackctlError) else repr(err)
            self._send(wire.Tuned(command.key, [], 0, text))
            return
        self._running[command.key] = Sweep(measure, budgets, seconds=command.seconds)

    def step(self) -> None:
        """Run one batch, and use the budget once it is known."""
        for key, sweep in self._running.items():
            if not sweep.step():
                model = self._models[key]
                model.budget = sweep.knee or model.budget
                if model.pacer:
                    model.pacer.calibrated(sweep.knee, sweep.batches)
                self.close(key)
            return

    def close(self, key: str) -> None:
        """End a calibration with what it has."""
        sweep = self._running.pop(key, None)
        if sweep:
            rows = [wire.TuneRow(*row) for row in sweep.rows]
            self._send(wire.Tuned(key, rows, sweep.knee, sweep.problem))
