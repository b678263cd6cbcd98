"""The process that owns one device: ``python -m stackctl_daemon.inference.worker``.

A thread reads commands, the main thread computes; the queue between them is bounded by what
the daemon admits. Refuses to outlive the daemon.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from stackctl.errors import StackctlError
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.batching import Item, LengthQueue
from stackctl_daemon.inference.session import DeviceUnusable, FloatArray, Session

_PR_SET_PDEATHSIG = 1


@dataclass(slots=True, eq=False)
class _Pending:
    command: wire.Embed
    session: Session
    name: str
    vectors: FloatArray
    left: int
    tokens: int
    truncated: int
    arrived: float
    started: float | None = None
    compute_s: float = 0.0


@dataclass(slots=True)
class _Model:
    load: wire.Load
    session: Session | None
    fault: wire.Refused | None = None
    queues: dict[str, LengthQueue[_Pending]] = field(
        default_factory=lambda: {"interactive": LengthQueue(), "batch": LengthQueue()}
    )


class Worker:
    """Runs commands until its socket closes."""

    def __init__(self, channel: socket.socket, *, kind: str, threads: int, batch_tokens: int):
        self._channel = channel
        self._kind = kind
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._inbox: queue.SimpleQueue[tuple[float, wire.Command] | None] = queue.SimpleQueue()
        self._models: dict[str, _Model] = {}
        self._pending: dict[int, _Pending] = {}
        self._arrivals = 0

    def run(self) -> None:
        """Serve until the daemon closes the socket."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        self._send(wire.Ready(os.getpid()))
        while self._drain():
            self._compute()

    def _read(self) -> None:
        try:
            with self._channel.makefile("rb") as stream:
                while prefix := stream.read(wire.PREFIX.size):
                    header, body = wire.sizes(prefix)
                    command = wire.read_command(stream.read(header))
                    stream.read(body)
                    self._inbox.put((time.monotonic(), command))
        finally:
            self._inbox.put(None)

    def _drain(self) -> bool:
        """Take what waits, or wait for something; tell whether there is more to do."""
        block = not any(len(q) for m in self._models.values() for q in m.queues.values())
        while True:
            try:
                got = self._inbox.get(block=block)
            except queue.Empty:
                return True
            if got is None:
                return False
            block = False
            arrived, command = got
            if isinstance(command, wire.Load):
                self._load(command)
            elif isinstance(command, wire.Embed):
                self._accept(command, arrived)
            else:
                pending = self._pending.pop(command.id, None)
                if pending:
                    for waiting in self._models[pending.command.key].queues.values():
                        waiting.drop(pending)

    def _load(self, command: wire.Load) -> None:
        fault, session = None, None
        try:
            session = Session(
                command.graph,
                command.tokenizer,
                kind=self._kind,
                threads=self._threads,
                max_tokens=command.max_tokens,
            )
        except Exception as err:  # whatever a file of another's making raises is its fault
            text = err.message if isinstance(err, StackctlError) else f"{command.name}: {err!r}"
            hint = err.hint if isinstance(err, StackctlError) else ""
            fault = wire.Refused(0, text, hint, isinstance(err, DeviceUnusable))
        for key, model in list(self._models.items()):
            idle = not any(map(len, model.queues.values()))
            if model.load.name == command.name and key != command.key and idle:
                del self._models[key]
        self._models[command.key] = _Model(command, session, fault)
        if session:
            self._send(wire.Loaded(command.key, command.name, session.execution_provider))

    def _accept(self, command: wire.Embed, arrived: float) -> None:
        model = self._models[command.key]
        if model.session is None:
            fault = model.fault or wire.Refused(0, "no session")
            self._send(wire.Refused(command.id, fault.message, fault.hint, fault.device_fault))
            return
        texts = model.session.tokenize(command.texts)
        pending = _Pending(
            command,
            model.session,
            model.load.name,
            np.zeros((len(texts), model.load.dimensions), "<f4"),
            left=len(texts),
            tokens=sum(len(t.ids) for t in texts),
            truncated=sum(t.truncated for t in texts),
            arrived=arrived,
        )
        self._pending[command.id] = pending
        waiting = model.queues[command.priority]
        for row, text in enumerate(texts):
            self._arrivals += 1
            waiting.add(Item(len(text.ids), self._arrivals, row, text.ids, pending))

    def _compute(self) -> None:
        """Run one batch: interactive first, then the oldest."""
        for priority in ("interactive", "batch"):
            waiting = [m.queues[priority] for m in self._models.values() if m.queues[priority]]
            if waiting:
                self._run(min(waiting, key=lambda q: q.oldest).take(self._batch_tokens))
                return

    def _run(self, batch: list[Item[_Pending]]) -> None:
        session = batch[0].request.session
        start = time.monotonic()
        try:
            vectors = session.embed([item.ids for item in batch])
            dimensions = batch[0].request.vectors.shape[1]
            if vectors.shape[1] != dimensions:
                raise ValueError(f"vectors of {vectors.shape[1]}, the entry says {dimensions}")
        except Exception as err:  # ORT's exceptions share no base class
            if len(batch) > 1:  # out of memory, or one bad text: find it
                middle = len(batch) // 2
                self._run(batch[:middle])
                self._run(batch[middle:])
            elif batch[0].request.command.id in self._pending:
                del self._pending[batch[0].request.command.id]
                message = f"{batch[0].request.name}: {err}"
                self._send(wire.Refused(batch[0].request.command.id, message))
            return
        end = time.monotonic()
        tokens = sum(item.length for item in batch)
        self._send(wire.Computed(batch[0].request.name, len(batch), tokens, end - start))
        for item, vector in zip(batch, vectors, strict=True):
            request = item.request
            request.vectors[item.row] = vector
            request.left -= 1
            if request.started is None:
                request.started = start
            request.compute_s += (end - start) * item.length / max(tokens, 1)
            if not request.left and request.command.id in self._pending:
                del self._pending[request.command.id]
                self._answer(request)

    def _answer(self, request: _Pending) -> None:
        count, dimensions = request.vectors.shape
        reply = wire.Embedded(
            id=request.command.id,
            count=count,
            dimensions=dimensions,
            tokens=request.tokens,
            truncated=request.truncated,
            queue_s=(request.started or request.arrived) - request.arrived,
            compute_s=request.compute_s,
            execution_provider=request.session.execution_provider,
        )
        self._send(reply, request.vectors.tobytes())

    def _send(self, report: wire.Report, body: bytes = b"") -> None:
        self._channel.sendall(wire.pack(report, body))


def main(arguments: list[str]) -> int:
    """Pin the process, then serve the socket it inherited."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--kind", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--cores", default="")
    parser.add_argument("--batch-tokens", type=int, required=True)
    options = parser.parse_args(arguments)
    # The kernel ends us with the daemon, even while we compute.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        return 1  # it went before we asked
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    cores = {int(core) for core in options.cores.split(",") if core}
    if cores:
        os.sched_setaffinity(0, cores)
    threads = len(cores) or 1
    with socket.socket(fileno=options.fd) as channel:
        try:
            Worker(
                channel, kind=options.kind, threads=threads, batch_tokens=options.batch_tokens
            ).run()
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the daemon closed the socket
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
