"""Tells systemd (and whoever set ``NOTIFY_SOCKET``) about our state; refuses to fail for it.

Source: sd_notify(3).
"""

from __future__ import annotations

import os
import socket
import time


def notify(state: str) -> bool:
    """Send a state such as ``READY=1``; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(1.0)
            sock.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def notify_reloading() -> bool:
    """Send RELOADING with the monotonic time that systemd asks for; READY=1 must follow."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
