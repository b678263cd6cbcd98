"""Starting the process that owns a device; refuses to watch it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from stackctl.contracts.device import Device
from stackctl_daemon.inference.providers import PLAIN, GpuPolicy
from stackctl_daemon.inference.turns import BATCH_SHARE

_GRACE_S = 2.0
"""For a process that lost its socket to end by itself."""


@dataclass(slots=True)
class WorkerProcess:
    """A worker that runs, and our end of its socket."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def kill(self) -> None:
        """End it by force, unless it ended."""
        if self.process.returncode is None:
            self.process.kill()

    async def ended(self) -> str:
        """Wait for the end of a process whose socket is closed; say how it ended."""
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), _GRACE_S)
        finally:
            self.kill()
            await self.process.wait()
        code = self.process.returncode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


class Spawn(Protocol):
    """Starts a worker; see `spawn`."""

    async def __call__(
        self, device: Device, *, batch_tokens: int, share_weights: bool
    ) -> WorkerProcess:
        """Start it.

        Raises:
            OSError: no process, socket or memory can be had.
        """
        ...


async def spawn(
    device: Device,
    *,
    batch_tokens: int,
    share_weights: bool,
    gpu: GpuPolicy = PLAIN,
    batch_share: float = BATCH_SHARE,
) -> WorkerProcess:
    """Start the worker of a device.

    Raises:
        OSError: no process, socket or memory can be had.
    """
    ours, theirs = socket.socketpair()
    cores = ",".join(map(str, device.cores))
    command = [sys.executable, "-P", "-m", "stackctl_daemon.inference.worker_main"]
    command += ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
    command += ["--kind", device.kind, "--cores", cores]
    command += ["--batch-tokens", str(batch_tokens), "--batch-share", str(batch_share)]
    if share_weights:
        command.append("--share-weights")
    environment = dict(os.environ)
    if device.kind == "cuda":
        command += ["--gpu", msgspec.json.encode(gpu).decode()]
        environment["CUDA_VISIBLE_DEVICES"] = device.uuid or device.id[5:]
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
    return WorkerProcess(process, reader, writer)
