"""The device that a cluster is to the pool, and its worker process; refuses to import Ray."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import cast

from stackctl.contracts.device import Device
from stackctl.errors import BadConfig
from stackctl.settings import DeviceSettings
from stackctl_daemon.inference.worker_process import Spawn, WorkerProcess

_DEVICE = "ray:0"
_GRACE_S = 5.0


def with_cluster(settings: DeviceSettings, devices: list[Device]) -> list[Device]:
    """Give the devices with the cluster of the settings, if any, in place of this CPU.

    Both would compute on the same cores when Ray runs here.

    Raises:
        BadConfig: Ray is not installed.
    """
    if not settings.ray_replicas:
        return devices
    if find_spec("ray") is None:
        raise BadConfig(
            f"devices.ray_replicas is {settings.ray_replicas}, and Ray is not installed in"
            f" {sys.prefix}",
            hint="pip install 'stackctl[ray]'",
        )
    where = settings.ray_address or "this machine"
    cluster = Device(
        id=_DEVICE, kind="cpu", name=f"Ray Serve on {where}, {settings.ray_replicas} replicas"
    )
    return [*(device for device in devices if device.kind != "cpu"), cluster]


def spawner(settings: DeviceSettings, others: Spawn, *, wedge_timeout_s: float) -> Spawn:
    """Give what starts the worker of the cluster, and by ``others`` those of other devices."""
    if not settings.ray_replicas:
        return others

    async def spawn(device: Device, *, batch_tokens: int, share_weights: bool) -> WorkerProcess:
        if device.id != _DEVICE:
            return await others(device, batch_tokens=batch_tokens, share_weights=share_weights)
        command = [sys.executable, "-P", "-m", f"{__package__}.ray_serve"]
        command += ["--replicas", str(settings.ray_replicas), "--address", settings.ray_address]
        command += ["--batch-tokens", str(batch_tokens), "--wedge-s", str(wedge_timeout_s)]
        return await _start(command)

    return spawn


async def _start(command: list[str]) -> WorkerProcess:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--fd",
                str(theirs.fileno()),
                env=dict(os.environ),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
    # The handle knows a process by these four alone.
    return WorkerProcess(cast(asyncio.subprocess.Process, _Patient(process)), reader, writer)


class _Patient:
    """A process that is first asked to end: it has deployments elsewhere to delete."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked = False
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is not None:
            return
        if self._asked:
            self._process.kill()
            return
        self._asked = True
        self._process.terminate()
        asyncio.get_running_loop().call_later(_GRACE_S, self.kill)
