"""What the process that owns one device does; `worker_main` starts it.

One thread reads commands between batches and computes: a second one would only take its core
away in the midst of a batch. Where a model has replicas, others compute and this one reads,
forms batches and answers; sounds and pictures are decoded by another (`preparing`). Refuses to
know how it was started.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from collections.abc import Iterator

import numpy as np

from stackctl.errors import Failed, Invalid, StackctlError, TimedOut, TooLarge
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.adapters.base import Decoding, Result, Unit
from stackctl_daemon.inference.batching import Item, batch_cost
from stackctl_daemon.inference.bodies import pack_results, unpack_inputs
from stackctl_daemon.inference.computing import Ran, Stepped, run_batch, step
from stackctl_daemon.inference.crew import wait
from stackctl_daemon.inference.frames import Inbox
from stackctl_daemon.inference.opening import Opener
from stackctl_daemon.inference.preparing import TICK_S, Preparing
from stackctl_daemon.inference.replicas import Replicas
from stackctl_daemon.inference.session import DevicePolicy, DeviceUnusable
from stackctl_daemon.inference.sweeps import Sweeps
from stackctl_daemon.inference.turns import BATCH_SHARE, Turns
from stackctl_daemon.inference.worker_state import Model, Pending, Stream, waiting


class Worker:
    """Runs commands until its socket closes."""

    def __init__(
        self,
        channel: socket.socket,
        *,
        policy: DevicePolicy,
        batch_tokens: int,
        batch_share: float = BATCH_SHARE,
    ):
        self._channel = channel
        self._batch_tokens = batch_tokens
        self._inbox = Inbox(channel)
        self._outbox: list[bytes] = []
        self._corked = False
        self._models: dict[str, Model] = {}
        self._pending: dict[int, Pending] = {}
        self._turns = Turns(batch_share)
        self._sweeps = Sweeps(self._models, self._send)
        self._opener = Opener(
            self._models, self._sweeps, policy=policy, batch_tokens=batch_tokens, send=self._send
        )
        self._preparing = Preparing(
            alive=lambda request: request.command.id in self._pending,
            ready=self._queue,
            give_up=self._give_up,
            send=self._send,
            batch_share=batch_share,
        )
        self._replicas: Replicas | None = None
        """While a model is to have several batches computed at once."""
        self._arrivals = 0

    def run(self) -> None:
        """Serve until the daemon closes the socket."""
        self._send(wire.Ready(os.getpid()))
        try:
            while self._drain():
                self._preparing.turn()
                if self._replicas:
                    self._replicas.turn()
                else:
                    self._compute()
                self._opener.close_idle()
                if self._replicas:
                    self._staff()
        except DeviceUnusable as err:
            self._hand_back(err)
        finally:
            self._preparing.close()
            if self._replicas:
                self._replicas.close()

    def _drain(self) -> bool:
        """Take what waits, or wait for something; tell whether there is more to do."""
        block = False
        if self._replicas:
            self._replicas.wait(self._channel, self._preparing)
        elif not self._sweeps and not any(model.due for model in self._models.values()):
            block = not self._preparing.busy
            if not block:
                wait(self._channel, self._preparing, timeout_s=TICK_S)
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
                self._opener.load(command)
                self._staff()
            elif isinstance(command, wire.Unload):
                self._opener.close(command.key)
            elif isinstance(command, wire.Tune):
                block = False
                self._sweeps.open(command)
            elif isinstance(command, wire.Trim):
                self._opener.trim()
            else:
                self._forget(command.id)

    def _staff(self) -> None:
        """Have as many threads as the models want; none where each runs one batch at a time."""
        size = self._opener.replicas
        if size > 1 and self._replicas is None:
            self._replicas = Replicas(
                self._models,
                self._turns,
                self._sweeps,
                begin=self._begin,
                finish=self._finish,
                rest=self._opener.rest,
                busy=lambda since: self._send(wire.Busy(since)),
            )
        if self._replicas and size == 1 and self._replicas.idle:
            self._replicas.close()
            self._replicas = None
        elif self._replicas:
            self._replicas.resize(size)

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
            self._preparing.forget(pending)
            for queued in pending.model.queues.values():
                queued.drop(pending)
            for streams in pending.model.steps.values():
                for stream in [one for one in streams if one.request is pending]:
                    streams.remove(stream)
                    pending.model.streams -= 1

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
        pending = Pending(command, model, arrived)
        try:
            if command.stream and not model.adapter.streams:
                raise Invalid(f'model "{model.load.name}" does not stream')
            inputs = unpack_inputs(command, body)
            if isinstance(model.adapter, Decoding) and command.blobs:
                self._pending[command.id] = pending
                self._preparing.add(pending, model.adapter.preparing(inputs, command.options))
                return
            units = model.adapter.prepare(inputs, command.options)
        except Exception as err:  # an adapter meets any bytes; its libraries raise anything
            self._refuse(command.id, model, err)
            return
        self._pending[command.id] = pending
        self._queue(pending, units)

    def _queue(self, pending: Pending, units: list[Unit]) -> None:
        """Have the inputs of a request, which are ready, wait for their batches."""
        command, model = pending.command, pending.model
        rows = model.adapter.width(command.options) if model.adapter else 0
        pending.results = np.zeros((len(units), rows), "<f4") if rows else [None] * len(units)
        pending.left = len(units)
        pending.tokens = sum(unit.tokens for unit in units)
        pending.truncated = sum(unit.truncated for unit in units)
        if model.pacer:
            pending.cost = sum(unit.cost for unit in units)
        if units and not units[0].tokens:
            model.sample = units[0]
        if not units:
            self._done(pending)
        waiting = model.queues[command.priority]
        for row, unit in enumerate(units):
            self._arrivals += 1
            waiting.add(Item(unit.cost, self._arrivals, row, unit, pending, command.user))

    def _compute(self) -> None:
        """Run one batch, or a step of a stream: whose turn it is, `Turns` says."""
        turn = self._turns.choose(waiting(self._models))
        if turn is None:
            self._sweeps.step()
            return
        line = turn.line
        began, model = time.monotonic(), self._models[line.key]
        if line.streams:
            [done] = step(model.steps[line.priority].popleft())
            self._finish_step(done)
        else:
            for ran in self._begin(model, line.priority) or ():
                self._finish_batch(model, ran)
        self._turns.charge(turn, time.monotonic() - began)

    def _begin(self, model: Model, priority: wire.Priority) -> Iterator[Ran] | None:
        """Take a batch, computed as it is read; None where nobody waits for it any more."""
        assert model.adapter is not None  # noqa: S101 - nothing is queued for a fault
        budget = model.pacer.budget if model.pacer else model.full(self._batch_tokens)
        alive = self._alive(model, model.queues[priority].take(budget))
        return run_batch(model.adapter, alive) if alive else None

    def _alive(self, model: Model, batch: list[Item[Pending]]) -> list[Item[Pending]]:
        """Give a batch without those whom nobody waits for any more, and without streams."""
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
        return alive

    def _finish(self, model: Model, done: Ran | Stepped) -> None:
        if isinstance(done, Ran):
            self._finish_batch(model, done)
        else:
            self._finish_step(done)

    def _finish_batch(self, model: Model, ran: Ran) -> None:
        batch, start, end = ran.batch, ran.start, ran.end
        if ran.error:
            self._give_up(batch[0].request, ran.error)
            return
        cost = sum(item.length for item in batch)
        tokens = sum(item.unit.tokens for item in batch)
        padded = tokens if model.packed else max(item.length for item in batch) * len(batch)
        waited = start - min(item.request.arrived for item in batch)
        padded = padded if tokens else 0
        if model.pacer:
            longest = max(item.length for item in batch)
            size = batch_cost(len(batch), longest, cost, packed=model.packed)
            model.pacer.batch(size, end - start)
        self._corked = True  # the batch's answers leave together
        self._send(wire.Computed(model.load.name, len(batch), tokens, end - start, padded, waited))
        for item, result in zip(batch, ran.results, strict=True):
            request = item.request
            request.results[item.row] = result
            request.left -= 1
            if request.started is None:
                request.started = start
            request.compute_s += (end - start) * item.length / max(cost, 1)
            if not request.left and request.command.id in self._pending:
                self._done(request, end)
        if model.pacer and (news := model.pacer.news()):
            self._send(wire.Paced(model.load.key, *news))
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
        try:
            self._send(reply, body)
        except (TooLarge, Invalid) as err:
            self._refuse(request.command.id, request.model, err, queue_s=reply.queue_s)
            return
        pacer = request.model.pacer
        if pacer and request.started is not None:
            waited_s = request.started - request.arrived
            pacer.served(
                request.cost,
                time.monotonic() - request.arrived,
                waited_s,
                interactive=request.command.priority == "interactive",
            )

    def _give_up(self, request: Pending, err: Exception) -> None:
        """Refuse a request that is not answered or refused yet, and drop the rest of it."""
        if request.command.id in self._pending:
            self._forget(request.command.id)
            queue_s = (request.started or time.monotonic()) - request.arrived
            self._refuse(request.command.id, request.model, err, queue_s=queue_s)

    def _refuse(
        self, number: int, model: Model, err: Exception, *, queue_s: float | None = None
    ) -> None:
        ours = err if isinstance(err, StackctlError) else None
        self._send(
            wire.Refused(
                number,
                wire.plain(ours.message if ours else f"{model.load.name}: {err}"),
                ours.hint if ours else "",
                isinstance(err, DeviceUnusable),
                ours.code if ours else Failed.code,
                queue_s,
            )
        )

    # -- streams ----------------------------------------------------------------------------

    def _open_stream(self, model: Model, item: Item[Pending], now: float) -> None:
        assert model.adapter is not None  # noqa: S101 - nothing is queued for a fault
        item.request.started = item.request.started or now
        model.streams += 1
        streams = model.steps[item.request.command.priority]
        streams.append(Stream(item.request, model.adapter.stream(item.unit), item))

    def _finish_step(self, done: Stepped) -> None:
        """Send what a stream gave; streams take turns."""
        stream, piece, ended = done.stream, done.piece, done.ended
        request, model = stream.request, stream.request.model
        if done.error or request.command.id not in self._pending:
            model.streams -= 1
            if done.error:
                self._give_up(request, done.error)
            return
        request.compute_s += done.end - done.start
        stream.compute_s += done.end - done.start
        if isinstance(piece, Result):
            request.results[stream.item.row] = piece
            ended = True
        elif not ended:
            try:
                self._send(wire.Part(request.command.id, stream.item.row, piece))
            except (TooLarge, Invalid) as err:
                model.streams -= 1
                self._give_up(request, err)
                return
        if not ended:
            model.steps[request.command.priority].append(stream)
            return
        model.streams -= 1
        unit = stream.item.unit
        waited = (request.started or done.start) - request.arrived
        took = stream.compute_s
        self._send(wire.Computed(model.load.name, 1, unit.tokens, took, unit.tokens, waited))
        request.left -= 1
        if not request.left:
            self._done(request, done.end)

    def _send(self, report: wire.Report, body: bytes = b"") -> None:
        self._outbox.append(wire.pack(report, body))
        if not self._corked:
            self._flush()

    def _flush(self) -> None:
        self._channel.sendall(b"".join(self._outbox))
        self._outbox.clear()
