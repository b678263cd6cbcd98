"""Stops the daemon and waits until its process is gone; refuses to kill it."""

from __future__ import annotations

import os
import select
import time

from stackctl.client import Client
from stackctl.errors import TimedOut, Unreachable

DRAIN_S = 60.0


def stop(client: Client, *, timeout_s: float = DRAIN_S) -> int | None:
    """Give the pid of the daemon that ended; None when none was running.

    Raises:
        TimedOut: it still runs after ``timeout_s``.
    """
    try:
        pid = client.system.version().pid
        # Opened before the request: a pid seen afterwards could be another process's.
        watched = os.pidfd_open(pid)
    except (Unreachable, ProcessLookupError):
        return None
    began = time.monotonic()
    try:
        client.system.shutdown()
        left = max(timeout_s - (time.monotonic() - began), 0.0)
        ended, _, _ = select.select([watched], [], [], left)
    finally:
        os.close(watched)
    if not ended:
        raise TimedOut(
            f"the daemon (pid {pid}) still runs after {timeout_s:g} s", hint=f"kill -TERM {pid}"
        )
    return pid
