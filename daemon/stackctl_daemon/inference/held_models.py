"""The models of one worker as the daemon sees them; refuses to know of requests.

What is wanted outlives the process; what is open, closing or being measured ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from stackctl.errors import Failed, StackctlError, WorkerCrashed
from stackctl_daemon.inference import protocol as wire

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""Deaths that a request, or a model that is being opened, may see before it is given up."""
ModelState = Literal["loading", "warming", "ready", "idle", "unloading"]


class DeviceFault(Failed):
    """The device cannot run the model; another one may."""


class WorkerClosed(WorkerCrashed):
    """The worker is not there any more, and will not be."""


@dataclass(slots=True)
class LoadedModel:
    """A model that a worker holds now."""

    load: wire.Load
    execution_provider: str
    load_s: float
    memory_bytes: int
    used_at: float
    """When it was last asked for, by the monotonic clock."""
    paced: wire.Paced | None = None
    """How it keeps to its target of latency, as last heard."""


class HeldModels:
    """Opens, closes and calibrates models by messages to a worker.

    ``write`` sends one, and tells whether there is a process that it went to.
    """

    def __init__(
        self,
        device: str,
        *,
        write: Callable[[wire.Command], bool],
        on_fault: Callable[[str], None],
        on_loaded: Callable[[LoadedModel], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open: dict[str, LoadedModel] = {}
        """By key, those that are loaded now."""
        self.wanted: dict[str, wire.Load] = {}
        """By key: loaded again after every restart."""
        self._device = device
        self._write = write
        self._on_fault = on_fault
        self._on_loaded = on_loaded
        self._deaths: dict[str, int] = {}
        """By key, workers that died while they opened it, since one last did."""
        self._clock = clock
        self._sent: set[str] = set()
        """Keys of what this process was told to load."""
        self._unloads: dict[str, asyncio.Future[int]] = {}
        self._tunes: dict[str, asyncio.Future[wire.Tuned]] = {}
        self._budgets: dict[str, tuple[int, int]] = {}
        """By key, what this or an earlier process found, and with how many replicas."""
        self._trims: dict[str, asyncio.Future[int]] = {}
        """The one under way, by the device."""
        self._faults: dict[str, StackctlError] = {}
        """By key, why the last load of a model failed."""
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def state(self, key: str, *, in_use: bool) -> ModelState:
        """Say where a model is in its life."""
        if key in self._unloads:
            return "unloading"
        if key not in self.open:
            return "loading"
        if key in self._tunes:
            return "warming"
        return "ready" if in_use else "idle"

    @property
    def closing(self) -> list[str]:
        """Keys of the models that are asked to go."""
        return list(self._unloads)

    @property
    def tuning(self) -> bool:
        """A calibration is under way, of which nothing is heard before its end."""
        return bool(self._tunes)

    @property
    def awaited(self) -> bool:
        """The process owes word of a model: that it is open, closed, calibrated, or cannot be."""
        return bool(self._unloads or self._tunes or self.opening)

    @property
    def opening(self) -> bool:
        """The process was told to open a model, and has not said how that went."""
        return bool(self._sent & self.wanted.keys() - self.open.keys())

    def want(self, load: wire.Load) -> None:
        """Have a model loaded, now and after every restart; another of its name goes."""
        if load.key in self.wanted:
            return  # with the budget of this device, which a request does not know
        for key, other in list(self.wanted.items()):
            if other.name == load.name and key != load.key:
                del self.wanted[key]  # the worker closes it when it opens the new one
                self._sent.discard(key)
        self.wanted[load.key] = load

    def used(self, key: str) -> None:
        """Note that a model is asked for."""
        if key in self.open:
            self.open[key].used_at = self._clock()

    def change(self, load: wire.Load) -> None:
        """Have a model that is wanted on other terms; requests go on meanwhile."""
        self.wanted[load.key] = load
        if load.key in self._sent:
            self._write(load)

    async def changed(self, load: wire.Load) -> None:
        """Wait until a model is on the terms that it was changed to.

        Raises:
            Failed: it cannot be opened so, and stays as it was; or it was closed.
        """
        key = load.key

        def there() -> bool:
            return key in self.open and self.open[key].load is load

        await self.until(lambda: self.wanted.get(key) is not load or there())
        if not there():
            raise self._faults.pop(key, None) or Failed(f"{self._device}: {key} was changed again")

    def send(self, load: wire.Load) -> None:
        """Tell the process to load a model, unless it was told.

        Raises:
            StackctlError: it cannot be told, as of a path that is no Unicode.
        """
        if load.key not in self._sent:
            wanted = self.wanted.get(load.key, load)
            budget, replicas = self._budgets.get(load.key, (0, 0))
            if replicas == wanted.replicas:
                # A process begins with what the one before it found.
                wanted = msgspec.structs.replace(wanted, budget=budget)
            self._write(wanted)
            self._sent.add(load.key)

    def send_wanted(self) -> None:
        """Tell the process to load whatever is wanted."""
        for load in list(self.wanted.values()):
            try:
                self.send(load)
            except StackctlError as err:
                self.hear(wire.LoadFailed(load.key, load.name, err.message, err.hint))

    async def opened(self, key: str) -> LoadedModel:
        """Wait for a model that is wanted.

        Raises:
            DeviceFault: the device cannot run it.
            Failed: its files cannot be opened, or it was closed again.
        """
        await self.until(lambda: key in self.open or key not in self.wanted)
        if key in self.open:
            return self.open[key]
        raise self._faults.get(key) or Failed(f"{self._device}: {key} was closed again")

    async def unload(self, key: str) -> int:
        """Close a model once nobody waits for it; give the bytes that the worker gave back."""
        self.wanted.pop(key, None)
        # What came of loads before is not what whoever waits for this one is told.
        self._faults.pop(key, None)
        self._deaths.pop(key, None)
        self._budgets.pop(key, None)
        if key not in self._sent:
            self.open.pop(key, None)
            self.tell()
            return 0
        waiting = self._unloads.get(key)
        if waiting is None:
            waiting = self._unloads[key] = asyncio.get_running_loop().create_future()
            self._sent.discard(key)
            self._write(wire.Unload(key))
        return await asyncio.shield(waiting)

    async def tune(self, key: str, seconds: float) -> wire.Tuned:
        """Have the batch budget of a loaded model measured while nobody waits."""
        future = self._tunes.get(key)
        if future is None:
            if not self._write(wire.Tune(key, seconds)):
                return wire.Tuned(key, [], 0, f"the worker of {self._device} is not running")
            future = self._tunes[key] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(future)

    async def trim(self) -> int:
        """Have the worker give back what it does not use; give the bytes that came back."""
        waiting = self._trims.get(self._device)
        if waiting is None:
            if not self._write(wire.Trim()):
                return 0  # no process holds anything
            waiting = asyncio.get_running_loop().create_future()
            self._trims[self._device] = waiting
        return await asyncio.shield(waiting)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something of this worker is so; looked at whenever one changes."""
        if condition():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watcher = (condition, future)
        self._watchers.append(watcher)
        try:
            await future
        finally:
            self._watchers.remove(watcher)

    def tell(self) -> None:
        """Wake whoever waits for what is so now."""
        for condition, future in self._watchers:
            if not future.done() and condition():
                future.set_result(None)

    def hear(
        self,
        report: wire.Loaded
        | wire.Unloaded
        | wire.LoadFailed
        | wire.Tuned
        | wire.Paced
        | wire.Trimmed,
    ) -> None:
        """Take what the worker says of a model."""
        if isinstance(report, wire.Paced):
            if report.key in self.open:
                self.open[report.key].paced = report
            return
        if isinstance(report, wire.Loaded):
            self._loaded(report)
        elif isinstance(report, wire.Tuned):
            if report.budget and report.key in self.open:
                replicas = self.open[report.key].load.replicas
                self._budgets[report.key] = report.budget, replicas
            _settle(self._tunes, report.key, report)
        elif isinstance(report, wire.Trimmed):
            _settle(self._trims, self._device, report.memory_bytes)
        elif isinstance(report, wire.LoadFailed):
            self._failed(report)
        else:
            self.open.pop(report.key, None)
            if report.key not in self._unloads:
                # It made way for another of its name: told again when it is asked for again.
                self._sent.discard(report.key)
            _settle(self._unloads, report.key, report.memory_bytes)
        self.tell()

    def ended(self, *, died: bool) -> None:
        """Forget what was of the process: it gave everything back, and measures nothing."""
        opening = [key for key in self.wanted if key in self._sent and key not in self.open]
        for key in opening if died else ():
            self._deaths[key] = self._deaths.get(key, 0) + 1
            if self._deaths[key] >= MAX_DEATHS:
                text = f"{self._device}: {MAX_DEATHS} workers died while they opened {key}"
                self._faults[key] = DeviceFault(text, hint="stackctl logs")
                del self.wanted[key], self._deaths[key]
        self.open.clear()
        self._sent.clear()
        for key in list(self._unloads):
            _settle(self._unloads, key, 0)
        _settle(self._trims, self._device, 0)
        for key in list(self._tunes):
            text = f"the worker of {self._device} ended"
            _settle(self._tunes, key, wire.Tuned(key, [], 0, text))
        self.tell()

    def _loaded(self, report: wire.Loaded) -> None:
        self._faults.pop(report.key, None)
        self._deaths.pop(report.key, None)
        load = self.wanted.get(report.key)
        if load:
            if load.replicas != report.replicas:  # it is being opened on other terms
                load = msgspec.structs.replace(load, replicas=report.replicas)
            self.open[report.key] = LoadedModel(
                load,
                report.execution_provider,
                report.load_s,
                report.memory_bytes,
                self._clock(),
            )
            self._on_loaded(self.open[report.key])
            _settle(self._unloads, report.key, 0)  # wanted again before it was closed

    def _failed(self, report: wire.LoadFailed) -> None:
        log.warning("model_not_loaded device=%s %s", self._device, report.message)
        if report.kept and report.key in self.open:
            self.wanted[report.key] = self.open[report.key].load
            self._faults[report.key] = Failed(
                f"{self._device}: {report.message}", hint=report.hint
            )
            return
        self._sent.discard(report.key)  # the next request tries anew
        self.wanted.pop(report.key, None)
        self.open.pop(report.key, None)
        kind = DeviceFault if report.device_fault else Failed
        self._faults[report.key] = kind(f"{self._device}: {report.message}", hint=report.hint)
        _settle(self._unloads, report.key, 0)
        if report.device_fault:
            self._on_fault(report.message)


def _settle(futures: dict[str, asyncio.Future[T]], key: str, value: T) -> None:
    future = futures.pop(key, None)
    if future and not future.done():
        future.set_result(value)
