"""A worker that speaks the real protocol over a real socket, for a device that is not there.

It takes and gives memory of a `SimulatedDevice`, sleeps for its service time on the loop's
clock, and has its faults. Its vectors tell what was asked: the length of each text.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import numpy as np

from stackctl.contracts.device import Device
from stackctl_daemon.devices.simulated import SimulatedBackend, SimulatedDevice
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.worker_process import WorkerProcess

TEXTS: dict[str, str] = {
    "lost": "CUDA failure 999: GPU is lost",
    "silent-fallback": "asked for CUDAExecutionProvider, it gave CPUExecutionProvider",
}
PLACEHOLDER = "import sys; sys.stdin.read()"


class SimulatedWorkers:
    """Starts workers for simulated devices; stands for `worker_process.spawn`.

    Each has a real child process that only waits, so that its death is a real one.
    """

    def __init__(self, backend: SimulatedBackend, *, memory_bytes: int) -> None:
        self._backend = backend
        self._memory_bytes = memory_bytes
        """What every model takes."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.loads: list[tuple[str, str]] = []
        """Device and model of every load, in order."""

    async def __call__(
        self, device: Device, *, batch_tokens: int, share_weights: bool
    ) -> WorkerProcess:
        """Start one."""
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", PLACEHOLDER, stdin=asyncio.subprocess.PIPE
        )
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            child = await asyncio.open_connection(sock=theirs)
        except BaseException:  # closed while it starts
            writer.close()
            raise
        serving = asyncio.ensure_future(self._serve(self._backend.devices[device.id], *child))
        self._tasks.add(serving)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            child[1].close()
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)

        serving.add_done_callback(ended)

        async def mourn() -> None:
            await process.wait()
            child[1].close()  # as the kernel does for a process that dies

        mourning = asyncio.ensure_future(mourn())
        self._tasks.add(mourning)
        mourning.add_done_callback(self._tasks.discard)
        return WorkerProcess(process, reader, writer)

    async def _serve(
        self, device: SimulatedDevice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        held: dict[str, int] = {}

        def send(report: wire.Report, body: bytes = b"") -> None:
            writer.write(wire.pack(report, body))

        send(wire.Ready(os.getpid()))
        try:
            while True:
                header, size = wire.sizes(await reader.readexactly(wire.PREFIX.size))
                command = wire.read_command(await reader.readexactly(header))
                await reader.readexactly(size)
                if device.fault == "hang":
                    continue
                if isinstance(command, wire.Load):
                    self._load(device, command, held, send)
                elif isinstance(command, wire.Unload):
                    count = held.pop(command.key, 0)
                    device.give(count)
                    send(wire.Unloaded(command.key, command.key, count))
                elif isinstance(command, wire.Trim):
                    send(wire.Trimmed(0))
                elif isinstance(command, wire.Run):
                    await asyncio.sleep(device.serve_s(len(command.texts)))
                    self._run(device, command, held, send)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            device.give(sum(held.values()))
            device.end()

    def _load(
        self, device: SimulatedDevice, command: wire.Load, held: dict[str, int], send: Any
    ) -> None:
        self.loads.append((device.id, command.name))
        text = TEXTS.get(device.fault, "")
        if not text and command.key not in held and not device.take(self._memory_bytes):
            text = "BFCArena::AllocateRawInternal: failed to allocate memory"
        if text:
            send(wire.LoadFailed(command.key, command.name, text, device_fault=True))
            return
        held[command.key] = self._memory_bytes
        size = self._memory_bytes
        send(wire.Loaded(command.key, command.name, "simulated", 0.01, size, command.replicas))

    def _run(
        self, device: SimulatedDevice, command: wire.Run, held: dict[str, int], send: Any
    ) -> None:
        if device.fault == "lost" or command.key not in held:
            send(wire.Refused(command.id, TEXTS.get(device.fault, "no"), device_fault=True))
            return
        rows = np.array([[len(text)] * 384 for text in command.texts], "<f4")
        send(
            wire.Answer(
                id=command.id,
                count=len(rows),
                values=[],
                tensors=[wire.Tensor(-1, "", "<f4", list(rows.shape))],
                tokens=len(rows),
                truncated=0,
                queue_s=0.0,
                batch_s=0.0,
                compute_s=0.0,
                execution_provider="simulated",
            ),
            rows.tobytes(),
        )
