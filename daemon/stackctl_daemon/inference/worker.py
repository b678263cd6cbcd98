"""The process that owns one device: ``python -m stackctl_daemon.inference.worker``.

One thread reads commands between batches and computes: a second one would only take its core
away in the midst of a batch. Refuses to outlive the daemon.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import queue
import signal
import socket
import sys
import time
from collections import deque

import msgspec
import numpy as np

from stackctl.errors import Failed, Invalid, StackctlError, TimedOut
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters import open_adapter
from stackctl_daemon.inference.adapters.base import Result
from stackctl_daemon.inference.batching import Item
from stackctl_daemon.inference.bodies import pack_results, unpack_inputs
from stackctl_daemon.inference.frames import Inbox
from stackctl_daemon.inference.memory import pss_bytes, trim
from stackctl_daemon.inference.providers import GpuPolicy
from stackctl_daemon.inference.session import DevicePolicy, DeviceUnusable
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.worker_state import PRIORITIES, Model, Pending, Stream, spec_of

_PR_SET_PDEATHSIG = 1


class Worker:
    """Runs commands until its socket closes."""

    def __init__(self, channel: socket.socket, *, policy: DevicePolicy, batch_tokens: int):
        self._channel = channel
        self._policy = policy
        self._batch_tokens = batch_tokens
        self._inbox = Inbox(channel)
        self._outbox: list[bytes] = []
        self._corked = False
        self._models: dict[str, Model] = {}
        self._pending: dict[int, Pending] = {}
        self._streams: dict[str, deque[Stream]] = {name: deque() for name in PRIORITIES}
        self._closing: set[str] = set()
        self._sweeps = Sweeps(self._models, self._send)
        self._arrivals = 0

    def run(self) -> None:
        """Serve until the daemon closes the socket."""
        self._send(wire.Ready(os.getpid()))
        try:
            while self._drain():
                self._compute()
                for key in list(self._closing):
                    self._unload(key)
        except DeviceUnusable as err:
            self._hand_back(err)

    def _drain(self) -> bool:
        """Take what waits, or wait for something; tell whether there is more to do."""
        block = not self._sweeps and all(model.idle for model in self._models.values())
        while True:
            try:
                got = self._inbox.get(block=block)
            except queue.Empty:
                return True
            if got is None:
                return False
            arrived, command, body = got
            if isinstance(command, wire.Run):
                block = False
                self._accept(command, body, arrived)
            elif isinstance(command, wire.Load):
                self._load(command)
            elif isinstance(command, wire.Unload):
                self._closing.add(command.key)
                self._unload(command.key)
            elif isinstance(command, wire.Tune):
                block = False
                self._sweeps.open(command)
            else:
                self._forget(command.id)

    def _hand_back(self, fault: DeviceUnusable) -> None:
        """Give every request back for another device; what is open here is lost with ours."""
        waiting = list(self._pending)
        while not self._inbox.empty():
            try:
                got = self._inbox.get(block=False)
            except queue.Empty:
                break  # the rest of a frame is not here: the daemon asks elsewhere for it
            if got and isinstance(got[1], wire.Run):
                waiting.append(got[1].id)
        for number in waiting:
            self._send(wire.Refused(number, fault.message, fault.hint, device_fault=True))

    def _forget(self, number: int) -> None:
        pending = self._pending.pop(number, None)
        if pending:
            for waiting in pending.model.queues.values():
                waiting.drop(pending)

    # -- models -----------------------------------------------------------------------------

    def _load(self, command: wire.Load) -> None:
        self._closing.discard(command.key)
        held = self._models.get(command.key)
        if held and held.loaded:
            self._send(held.loaded)  # it was asked to go, and is wanted again
            return
        before, began = pss_bytes(), time.monotonic()
        fault, adapter = None, None
        try:
            adapter = open_adapter(command.adapter, spec_of(command), self._policy.open)
        except Exception as err:  # whatever a file of another's making raises is its fault
            text = err.message if isinstance(err, StackctlError) else f"{command.name}: {err!r}"
            hint = err.hint if isinstance(err, StackctlError) else ""
            fault = wire.LoadFailed(
                command.key, command.name, text, hint, isinstance(err, DeviceUnusable)
            )
        for key, model in list(self._models.items()):
            if model.load.name == command.name and key != command.key:
                self._closing.add(key)
                self._unload(key)
        model = self._models[command.key] = Model(command, adapter, fault, budget=command.budget)
        if adapter:
            grown = max(0, pss_bytes() - before)
            took = time.monotonic() - began
            model.loaded = wire.Loaded(
                command.key, command.name, adapter.execution_provider, took, grown
            )
            self._send(model.loaded)
        elif fault:
            self._send(fault)

    def _unload(self, key: str) -> None:
        """Close a model that was asked to go, once nobody waits for it."""
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
        gc.collect()
        trim()
        self._send(wire.Unloaded(key, name, max(0, before - pss_bytes())))

    # -- requests ---------------------------------------------------------------------------

    def _accept(self, command: wire.Run, body: bytes, arrived: float) -> None:
        model = self._models.get(command.key)
        if model is None or model.adapter is None:
            fault = model.fault if model else None
            text = fault.message if fault else f"{command.key} is not loaded"
            self._send(
                wire.Refused(
                    command.id,
                    text,
                    fault.hint if fault else "",
                    fault.device_fault if fault else False,
                )
            )
            return
        try:
            inputs = unpack_inputs(command, body)
            units = model.adapter.prepare(inputs, command.options)
            if command.stream and not model.adapter.streams:
                raise Invalid(f'model "{model.load.name}" does not stream')
        except Exception as err:  # an adapter meets any bytes; its libraries raise anything
            self._refuse(command.id, model, err)
            return
        rows = model.adapter.width(command.options)
        pending = Pending(
            command,
            model,
            np.zeros((len(units), rows), "<f4") if rows else [None] * len(units),
            left=len(units),
            tokens=sum(unit.tokens for unit in units),
            truncated=sum(unit.truncated for unit in units),
            arrived=arrived,
        )
        self._pending[command.id] = pending
        if units and not units[0].tokens:
            model.sample = units[0]
        if not units:
            self._done(pending)
        waiting = model.queues[command.priority]
        for row, unit in enumerate(units):
            self._arrivals += 1
            waiting.add(Item(unit.cost, self._arrivals, row, unit, pending, command.user))

    def _compute(self) -> None:
        """Run one batch, or a step of a stream: interactive first, then the oldest."""
        for priority in PRIORITIES:
            streams = self._streams[priority]
            busy = bool(streams)
            if busy:
                self._step(streams)
            found = [m for m in self._models.values() if m.queues[priority]]
            if found:
                model = min(found, key=lambda m: m.queues[priority].oldest)
                adapter = model.adapter
                if adapter is not None:
                    budget = model.budget or adapter.budget(self._batch_tokens)
                    self._start(model, model.queues[priority].take(budget))
            if busy or found:
                return
        self._sweeps.step()

    def _start(self, model: Model, batch: list[Item[Pending]]) -> None:
        """Run a batch without those whom nobody waits for any more."""
        now = time.monotonic()
        alive = []
        for item in batch:
            request = item.request
            deadline = request.command.deadline
            if request.command.id not in self._pending:
                continue
            if deadline and now > deadline:
                late = TimedOut(
                    f"{model.load.name}: not begun {now - request.arrived:.1f} s after it arrived"
                )
                self._give_up(request, late)
            elif model.adapter and (request.command.stream or model.adapter.stepwise):
                self._open_stream(model, item, now)
            else:
                alive.append(item)
        if alive:
            self._run(model, alive)

    def _run(self, model: Model, batch: list[Item[Pending]]) -> None:
        assert model.adapter is not None  # noqa: S101 - nothing is queued for a fault
        start = time.monotonic()
        try:
            results = model.adapter.compute([item.unit for item in batch])
            if len(results) != len(batch):
                raise Failed(f"{len(results)} results of {len(batch)} inputs")
        except DeviceUnusable:
            raise  # no request is at fault
        except Exception as err:  # ORT's exceptions share no base class
            if len(batch) > 1:  # out of memory, or one bad input: find it
                middle = len(batch) // 2
                self._run(model, batch[:middle])
                self._run(model, batch[middle:])
            else:
                self._give_up(batch[0].request, err)
            return
        end = time.monotonic()
        cost = sum(item.length for item in batch)
        tokens = sum(item.unit.tokens for item in batch)
        padded = tokens if model.packed else max(item.length for item in batch) * len(batch)
        waited = start - min(item.request.arrived for item in batch)
        padded = padded if tokens else 0
        self._corked = True  # the batch's answers leave together
        self._send(wire.Computed(model.load.name, len(batch), tokens, end - start, padded, waited))
        for item, result in zip(batch, results, strict=True):
            request = item.request
            request.results[item.row] = result
            request.left -= 1
            if request.started is None:
                request.started = start
            request.compute_s += (end - start) * item.length / max(cost, 1)
            if not request.left and request.command.id in self._pending:
                self._done(request, end)
        self._corked = False
        self._flush()

    def _done(self, request: Pending, end: float = 0.0) -> None:
        del self._pending[request.command.id]
        values, tensors, body = pack_results(request.results)
        started = request.started or request.arrived
        reply = wire.Answer(
            id=request.command.id,
            count=len(request.results),
            values=values,
            tensors=tensors,
            tokens=request.tokens,
            truncated=request.truncated,
            queue_s=started - request.arrived,
            batch_s=max(0.0, end - started - request.compute_s),
            compute_s=request.compute_s,
            execution_provider=(
                request.model.adapter.execution_provider if request.model.adapter else ""
            ),
        )
        self._send(reply, body)

    def _give_up(self, request: Pending, err: Exception) -> None:
        """Refuse a request that is not answered or refused yet, and drop the rest of it."""
        if request.command.id in self._pending:
            self._forget(request.command.id)
            self._refuse(request.command.id, request.model, err)

    def _refuse(self, number: int, model: Model, err: Exception) -> None:
        ours = err if isinstance(err, StackctlError) else None
        self._send(
            wire.Refused(
                number,
                ours.message if ours else f"{model.load.name}: {err}",
                ours.hint if ours else "",
                isinstance(err, DeviceUnusable),
                ours.code if ours else Failed.code,
            )
        )

    # -- streams ----------------------------------------------------------------------------

    def _open_stream(self, model: Model, item: Item[Pending], now: float) -> None:
        assert model.adapter is not None  # noqa: S101 - nothing is queued for a fault
        item.request.started = item.request.started or now
        model.streams += 1
        streams = self._streams[item.request.command.priority]
        streams.append(Stream(item.request, model.adapter.stream(item.unit), item))

    def _step(self, streams: deque[Stream]) -> None:
        """Have one stream give its next piece; streams take turns."""
        stream = streams.popleft()
        request, model = stream.request, stream.request.model
        if request.command.id not in self._pending:
            model.streams -= 1
            return
        start, piece, ended = time.monotonic(), None, False
        try:
            piece = next(stream.pieces)
        except StopIteration:
            ended = True
        except DeviceUnusable:
            raise
        except Exception as err:  # as of a batch
            model.streams -= 1
            self._give_up(request, err)
            return
        end = time.monotonic()
        request.compute_s += end - start
        if isinstance(piece, Result):
            request.results[stream.item.row] = piece
            ended = True
        elif not ended:
            self._send(wire.Part(request.command.id, stream.item.row, piece))
        if not ended:
            streams.append(stream)
            return
        model.streams -= 1
        unit = stream.item.unit
        self._send(wire.Computed(model.load.name, 1, unit.tokens, request.compute_s))
        request.left -= 1
        if not request.left:
            self._done(request, end)

    def _send(self, report: wire.Report, body: bytes = b"") -> None:
        self._outbox.append(wire.pack(report, body))
        if not self._corked:
            self._flush()

    def _flush(self) -> None:
        self._channel.sendall(b"".join(self._outbox))
        self._outbox.clear()


def main(arguments: list[str]) -> int:
    """Pin the process, then serve the socket it inherited."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--kind", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--cores", default="")
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--share-weights", action="store_true")
    parser.add_argument("--gpu", default="{}")
    options = parser.parse_args(arguments)
    # The kernel ends us with the daemon, even while we compute.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        return 1  # it went before we asked
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    cores = {int(core) for core in options.cores.split(",") if core}
    if cores:
        os.sched_setaffinity(0, cores)
    gpu = msgspec.json.decode(options.gpu, type=GpuPolicy)
    policy = DevicePolicy(options.kind, len(cores) or 1, options.share_weights, gpu)
    with socket.socket(fileno=options.fd) as channel:
        try:
            Worker(channel, policy=policy, batch_tokens=options.batch_tokens).run()
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the daemon closed the socket
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
