"""Opening and closing models in a worker; refuses to compute what anybody asked for."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stackctl.errors import StackctlError
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Adapter, Input, Texts
from stackctl_daemon.inference.memory import few_heaps, pss_bytes, trim
from stackctl_daemon.inference.session import DevicePolicy, DeviceUnusable
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.worker_state import Model, spec_of

_SAMPLE_TOKENS = 128


class Opener:
    """The models of a worker by key; one that was asked to go is closed when nobody waits."""

    def __init__(
        self,
        models: dict[str, Model],
        sweeps: Sweeps,
        *,
        policy: DevicePolicy,
        batch_tokens: int,
        send: Callable[[wire.Report], None],
    ) -> None:
        self._models = models
        self._sweeps = sweeps
        self._policy = policy
        self._batch_tokens = batch_tokens
        self._send = send
        self._closing: set[str] = set()

    @property
    def replicas(self) -> int:
        """The most batches of one model that are to be computed at once."""
        return max((m.load.replicas for m in self._models.values() if m.adapter), default=1)

    def load(self, command: wire.Load) -> None:
        """Open a model, or keep it on other terms; say how it went."""
        self._closing.discard(command.key)
        held = self._models.get(command.key)
        if held and held.loaded:
            self._keep(held, command)
            self._close_others(command)
            return
        adapter, report = self._open(command)
        self._close_others(command)
        fault = report if isinstance(report, wire.LoadFailed) else None
        model = self._models[command.key] = Model(command, adapter, fault, budget=command.budget)
        if isinstance(report, wire.Loaded):
            model.loaded = report
            model.pace(self._batch_tokens)
        self._send(report)

    def close(self, key: str) -> None:
        """Close a model once nobody waits for it."""
        self._closing.add(key)
        self._unload(key)

    def close_idle(self) -> None:
        """Close what was asked to go and is not waited for any more."""
        for key in list(self._closing):
            self._unload(key)

    def rest(self) -> None:
        """Give back what batches that ran side by side have computed in; nobody waits."""
        self._give_back()

    def trim(self) -> None:
        """Give back what is not used, and say how much it was."""
        before = pss_bytes()
        self._give_back()
        self._send(wire.Trimmed(max(0, before - pss_bytes())))

    def _close_others(self, command: wire.Load) -> None:
        """Close what the entry was before it was imported anew."""
        for key, model in list(self._models.items()):
            if model.load.name == command.name and key != command.key:
                self.close(key)

    def _give_back(self) -> None:
        gc.collect()
        self._policy.give_back()
        trim()

    def _keep(self, model: Model, command: wire.Load) -> None:
        """Go on with an open model on the terms of now; batches under way end on the old ones."""
        if command.replicas != model.load.replicas:
            adapter, report = self._open(command)
            if isinstance(report, wire.LoadFailed):
                kept = wire.LoadFailed(
                    report.key, report.name, report.message, report.hint, kept=True
                )
                self._send(kept)
                return
            # What is ready for the old one suits the new one: they are the same files.
            model.adapter, model.loaded = adapter, report
            # What was calibrated, and learned of batches, was so with the other number.
            model.budget, model.pacer = command.budget, None
            self._give_back()
        model.load = command
        model.pace(self._batch_tokens)
        if model.loaded:
            self._send(model.loaded)

    def _open(self, command: wire.Load) -> tuple[Adapter | None, wire.Loaded | wire.LoadFailed]:
        before, began = pss_bytes(), time.monotonic()
        try:
            policy = self._policy.shared_by(command.replicas)
            adapter = open_adapter(command.adapter, spec_of(command), policy.open)
            if command.replicas > 1:
                few_heaps()
                _warm(adapter, command.replicas, command.budget or self._batch_tokens)
        except Exception as err:  # whatever a file of another's making raises is its fault
            text = err.message if isinstance(err, StackctlError) else f"{command.name}: {err!r}"
            hint = err.hint if isinstance(err, StackctlError) else ""
            fault = isinstance(err, DeviceUnusable)
            text = wire.plain(text)
            return None, wire.LoadFailed(command.key, command.name, text, hint, fault)
        loaded = wire.Loaded(
            command.key,
            command.name,
            adapter.execution_provider,
            time.monotonic() - began,
            max(0, pss_bytes() - before),
            command.replicas,
        )
        return adapter, loaded

    def _unload(self, key: str) -> None:
        model = self._models.get(key)
        if model is None:
            self._closing.discard(key)
            self._send(wire.Unloaded(key, key, 0))
            return
        if not model.idle:
            return
        self._closing.discard(key)
        before, name = pss_bytes(), model.load.name
        self._sweeps.close(key)
        del self._models[key], model
        self._give_back()
        self._send(wire.Unloaded(key, name, max(0, before - pss_bytes())))


def _warm(adapter: Adapter, replicas: int, batch_tokens: int) -> None:
    """Run a batch in every replica at once, so that what the model took is what it will take.

    Others than readers of texts are not asked: what their inputs look like is not known.
    """
    if adapter.streams or not isinstance(adapter, Texts):
        return
    text = Input(text="signal " * (_SAMPLE_TOKENS - 2))
    [unit] = adapter.prepare([text], adapter.sample_options)
    batch = [unit] * max(1, adapter.budget(batch_tokens) // max(1, unit.cost))
    with ThreadPoolExecutor(replicas) as pool:
        for _ in pool.map(adapter.compute, [batch] * replicas):
            pass
