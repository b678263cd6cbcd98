"""Replicas on Ray Serve, the only importer of Ray: ``python -m ...scale_out.ray_serve``.

Run as the worker process of the device ``ray:0``. A deployment is one model; no proxy of
Serve's is started, since the daemon's API stands in front. Without an address, Ray is started
here and ends with this process. Whoever reaches a port of Ray's runs code as its user, so that
one listens on loopback alone and asks for a token.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

from stackctl.errors import Failed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.scale_out.bridge import Bridge, ReplicaLost
from stackctl_daemon.inference.scale_out.replica import Replica

log = logging.getLogger(__name__)

DEPLOY_TIMEOUT_S = 90.0
"""A cluster with autoscaling may have to start a machine for longer: the next request waits."""
_OBJECT_STORE_BYTES = 100_000_000
"""What passes through it is larger than 100 kB: images and long batches, each once."""
_ONGOING = 512
"""Requests that a replica holds at once: its batcher takes from what waits there, so Serve's own
5 would leave it nothing to choose from."""


class LocalReplica(Replica):
    """A replica without a door to the network.

    Serve has every replica listen on all addresses, for a transport that is off by default, and
    unpickles what it is sent there, token or not.
    """

    def __init__(self, load: bytes, **options: Any) -> None:
        # Deferred: it comes with Ray.
        from grpc.aio._server import Server  # pyright: ignore[reportMissingImports] - an extra

        def open_nothing(server: Server, address: str) -> int:
            return 1

        # Serve opens the port once this has returned.
        Server.add_insecure_port = open_nothing
        super().__init__(load, **options)


class RayServe:
    """Ray and Serve, as the bridge needs them; see `bridge.Cluster`."""

    def __init__(
        self, *, address: str, replicas: int, batch_tokens: int, wedge_s: float = 120.0
    ) -> None:
        """Connect to the cluster at ``address``, or start one when it is empty."""
        local = not address
        if local:
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            # Ray takes the address of a network card for its own, even when told 127.0.0.1,
            # unless it is told that this machine is none that clusters are made of.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Neither side blocks its loop, so a thread in between is a hop for nothing.
        os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "0"
        os.environ["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] = "0"
        # Deferred: Ray reads the environment when it is imported.
        import ray  # pyright: ignore[reportMissingImports] - an extra
        from ray import serve  # pyright: ignore[reportMissingImports] - an extra

        self._ray: Any = ray  # Any: Ray is optional, so what checks types here may lack it
        self._serve: Any = serve
        self._replicas = replicas
        self._batch_tokens = batch_tokens
        self._wedge_s = wedge_s
        # Here the daemon counts memory; on a cluster, Ray finds a core for each replica.
        self._cores = 0 if local else 1
        self._model = LocalReplica if local else Replica
        started: dict[str, Any] = {"address": address}
        if local:
            started = {
                "address": "local",
                "num_cpus": replicas,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
            }
        ray.init(namespace="stackctl", log_to_driver=False, configure_logging=False, **started)
        serve.start(proxy_location="Disabled")

    async def deploy(self, load: wire.Load) -> RayModel:
        """Start the replicas of a model; see `bridge.Cluster`."""
        deployment = self._serve.deployment(self._model).options(
            name="replica",
            num_replicas=self._replicas,
            max_ongoing_requests=_ONGOING,
            health_check_period_s=5,
            health_check_timeout_s=30,
            graceful_shutdown_timeout_s=5,
            graceful_shutdown_wait_loop_s=0.1,
            ray_actor_options={"num_cpus": self._cores},
            logging_config={"enable_access_log": False},
        )
        frame = wire.pack(load)
        size, _ = wire.sizes(frame[: wire.PREFIX.size])
        app = deployment.bind(
            frame[wire.PREFIX.size : wire.PREFIX.size + size],
            batch_tokens=self._batch_tokens,
            wedge_s=self._wedge_s,
        )
        run = asyncio.to_thread(self._serve.run, app, name=_app(load), route_prefix=None)
        try:
            async with asyncio.timeout(DEPLOY_TIMEOUT_S):
                return RayModel(await run, self._ray)
        except TimeoutError as err:
            free = self._ray.available_resources().get("CPU", 0)
            raise Failed(
                f"Ray did not start {self._replicas} replicas of {load.name} in"
                f" {DEPLOY_TIMEOUT_S:.0f} s, {free:g} of its cores are free",
                hint="stackctl models ps",
            ) from err
        except (self._ray.exceptions.RayError, RuntimeError) as err:
            raise Failed(f"Ray did not start replicas of {load.name}: {err}") from err

    async def delete(self, load: wire.Load) -> None:
        """End the replicas of a model; see `bridge.Cluster`."""
        await asyncio.to_thread(self._serve.delete, _app(load))

    def close(self) -> None:
        """End what was started here, or leave the cluster."""
        self._ray.shutdown()


class RayModel:
    """The deployment of one model; see `bridge.Deployed`."""

    def __init__(self, handle: Any, ray: Any) -> None:
        self._handle = handle
        self._streaming = handle.options(stream=True)
        # Deferred: as above.
        from ray.serve.exceptions import ReplicaUnavailableError  # pyright: ignore[reportMissingImports] - an extra

        errors = ray.exceptions
        self._lost = (
            errors.RayActorError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            ReplicaUnavailableError,
        )
        self._failed = errors.RayError

    async def opened(self) -> bytes:
        """Ask a replica how opening the model went."""
        try:
            found: bytes = await self._handle.opened.remote()
        except self._lost as err:
            raise ReplicaLost(_line(err)) from err
        except self._failed as err:
            raise Failed(f"Ray: {_line(err)}") from err
        return found

    async def run(self, header: bytes, body: bytes) -> list[bytes]:
        """Have a replica answer; Serve chooses the one with the shorter queue of two."""
        try:
            frames: list[bytes] = await self._handle.run.remote(header, body)
        except self._lost as err:
            raise ReplicaLost(_line(err)) from err
        except self._failed as err:
            raise Failed(f"Ray: {_line(err)}") from err
        return frames

    async def stream(self, header: bytes, body: bytes) -> AsyncIterator[bytes]:
        """Have a replica answer in pieces."""
        try:
            async for frame in self._streaming.stream.remote(header, body):
                yield frame
        except self._lost as err:
            raise ReplicaLost(_line(err)) from err
        except self._failed as err:
            raise Failed(f"Ray: {_line(err)}") from err


def _app(load: wire.Load) -> str:
    """Give the application's name: the same after a restart, so that it is taken over."""
    return f"stackctl-{load.key.replace('@', '-').replace(':', '-')}"


def _line(err: BaseException) -> str:
    """Give the last line of what may be a traceback of another process."""
    lines = [line for line in str(err).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(err).__name__


async def _bridge(channel: socket.socket, cluster: RayServe) -> None:
    channel.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
    # Set after Ray's own, which would end us before the deployments are deleted.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, writer.close)
    await Bridge(reader, writer, cluster).serve()


def main(arguments: list[str]) -> int:
    """Serve the socket that was inherited until the daemon closes it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--address", default="")
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--wedge-s", type=float, default=120.0)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    channel = socket.socket(fileno=options.fd)
    cluster = RayServe(
        address=options.address,
        replicas=options.replicas,
        batch_tokens=options.batch_tokens,
        wedge_s=options.wedge_s,
    )
    try:
        asyncio.run(_bridge(channel, cluster))
    finally:
        cluster.close()
    # A thread may still wait for replicas that will not come, and nothing else is left to do.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
