"""The process that owns one device: ``python -m stackctl_daemon.inference.worker_main``.

Refuses to outlive the daemon.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys

import msgspec

from stackctl_daemon.inference.providers import GpuPolicy
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.inference.turns import BATCH_SHARE
from stackctl_daemon.inference.worker import Worker

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Pin the process, then serve the socket it inherited."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--kind", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--cores", default="")
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--batch-share", type=float, default=BATCH_SHARE)
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
            Worker(
                channel,
                policy=policy,
                batch_tokens=options.batch_tokens,
                batch_share=options.batch_share,
            ).run()
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the daemon closed the socket
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
