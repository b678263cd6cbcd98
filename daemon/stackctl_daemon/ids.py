"""Random ids for requests and events; refuses to be a source of secrets.

The kernel is asked for many at once: a system call an id costs as much as the rest of an event.
"""

from __future__ import annotations

import os

_POOL_BYTES = 4096
_pools: dict[int, list[str]] = {}


def random_hex(size: int) -> str:
    """Give ``size`` random bytes as hexadecimal digits, never the same twice in a process.

    Processes that are forked after the first call would share what is left: the daemon forks
    before it serves.
    """
    pool = _pools.setdefault(size, [])
    try:
        return pool.pop()  # one step, so that threads do not get the same
    except IndexError:
        data = os.urandom(_POOL_BYTES // size * size).hex()
        step = 2 * size
        fresh = [data[at : at + step] for at in range(0, len(data), step)]
        found = fresh.pop()
        pool.extend(fresh)
        return found
