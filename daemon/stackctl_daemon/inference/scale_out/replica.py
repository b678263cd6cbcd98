"""The worker inside another scheduler's replica; refuses to know the scheduler.

Our worker runs unchanged in a thread of this process, at the other end of a socket pair: the
same adapters, the same batches by padded cost, the same refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future

import msgspec

from stackctl.errors import Failed
from stackctl_daemon.inference import protocol as wire

_Heard = Callable[[wire.Report, bytes], None]


class Replica:
    """One model, loaded once; many requests at a time, which is what batches are made of.

    A request and its answer are frames of `protocol`. Its ``deadline`` is in seconds from now,
    since the monotonic clocks of two machines have nothing in common.
    """

    def __init__(
        self, load: bytes, *, kind: str = "cpu", batch_tokens: int = 512, wedge_s: float = 120.0
    ) -> None:
        """Load the model.

        Args:
            load: a `wire.Load` as it was packed; its paths are of this machine.
            kind: ``cpu`` or ``cuda``.
            batch_tokens: padded cost of a batch, where the model was not calibrated.
            wedge_s: a worker that holds work and says nothing for so long is not healthy.
        """
        # Deferred: whoever only passes frames on needs no ONNX Runtime.
        from stackctl_daemon.inference.session import DevicePolicy
        from stackctl_daemon.inference.worker import Worker

        ours, theirs = socket.socketpair()
        self._channel = ours
        self._writing = threading.Lock()
        self._asked: dict[int, _Heard] = {}
        self._number = 0
        self._heard_at = time.monotonic()
        self._wedge_s = wedge_s
        self._computed: list[wire.Computed] = []
        self._opened: Future[wire.Loaded | wire.LoadFailed] = Future()
        worker = Worker(theirs, policy=DevicePolicy(kind), batch_tokens=batch_tokens)

        def work() -> None:
            # It ends when its socket does, in the middle of an answer or not.
            with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.run()

        self._working = threading.Thread(target=work, name="worker", daemon=True)
        self._working.start()
        self._listening = threading.Thread(target=self._listen, name="reports", daemon=True)
        self._listening.start()
        self._send(wire.read_command(load))
        self._opened.result()

    def opened(self) -> bytes:
        """Give how opening the model went: the frame of `Loaded` or `LoadFailed`."""
        return wire.pack(self._opened.result())

    async def run(self, header: bytes, body: bytes) -> list[bytes]:
        """Give the frames that answer a `wire.Run`: batches since the last one, then the answer.

        Args:
            header: the command, encoded.
            body: its inputs.
        """
        frames = [frame async for frame in self.stream(header, body)]
        done, self._computed = self._computed, []
        return [*map(wire.pack, done), *frames]

    async def stream(self, header: bytes, body: bytes) -> AsyncIterator[bytes]:
        """Give the frames that answer a `wire.Run` as they come about: parts, then the answer."""
        command = wire.read_command(header)
        if not isinstance(command, wire.Run):
            raise Failed(f"a replica runs {type(command).__name__}, expected Run")
        theirs, ours = command.id, self._next()
        deadline = command.deadline and time.monotonic() + command.deadline
        loop = asyncio.get_running_loop()
        # Bounded by the inputs of the request, and by what the daemon admits.
        heard: asyncio.Queue[tuple[wire.Report, bytes]] = asyncio.Queue()

        def hear(report: wire.Report, data: bytes) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, (report, data))

        if not self._asked:
            self._heard_at = time.monotonic()  # an idle worker owes no sign of life
        self._asked[ours] = hear
        try:
            self._send(msgspec.structs.replace(command, id=ours, deadline=deadline), body)
            while True:
                report, data = await heard.get()
                if isinstance(report, wire.Part | wire.Answer | wire.Refused):
                    yield wire.pack(msgspec.structs.replace(report, id=theirs), data)
                if not isinstance(report, wire.Part):
                    return
        finally:
            if self._asked.pop(ours, None):
                self._send(wire.Forget(ours))

    def check_health(self) -> None:
        """Pass while the worker works; the scheduler replaces a replica that does not.

        Raises:
            Failed: its thread ended, or it holds work and has said nothing for too long.
        """
        silent_s = time.monotonic() - self._heard_at
        if not self._working.is_alive():
            raise Failed("the worker's thread ended")
        if self._asked and silent_s > self._wedge_s:
            raise Failed(f"the worker is silent for {silent_s:.0f} s with work in hand")

    def close(self) -> None:
        """End the worker's thread, and drop the model with it."""
        self._channel.shutdown(socket.SHUT_RDWR)
        self._working.join(timeout=5)
        self._listening.join(timeout=5)
        self._channel.close()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _send(self, command: wire.Command, body: bytes = b"") -> None:
        with self._writing:  # frames of two threads must not mix
            self._channel.sendall(wire.pack(command, body))

    def _listen(self) -> None:
        with self._channel.makefile("rb") as stream:
            while prefix := stream.read(wire.PREFIX.size):
                header, size = wire.sizes(prefix)
                report = wire.read_report(stream.read(header))
                self._hear(report, stream.read(size))

    def _hear(self, report: wire.Report, body: bytes) -> None:
        self._heard_at = time.monotonic()
        if isinstance(report, wire.Part):
            if hear := self._asked.get(report.id):
                hear(report, body)
        elif isinstance(report, wire.Answer | wire.Refused):
            if hear := self._asked.pop(report.id, None):
                hear(report, body)
        elif isinstance(report, wire.Computed):
            self._computed.append(report)
        elif isinstance(report, wire.Loaded | wire.LoadFailed) and not self._opened.done():
            self._opened.set_result(report)
