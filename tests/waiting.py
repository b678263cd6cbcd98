"""Waiting for what gives no notice: the one place of the tests that polls, always with an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PAUSE_S = 0.01
WAIT_S = 30.0

T = TypeVar("T")


def until(condition: Callable[[], T], *, told: Callable[[], object] = str) -> T:
    """Give the first answer of ``condition`` that is true.

    Raises:
        AssertionError: none came in 30 s; it ends with what ``told`` gives then.
    """
    deadline = time.monotonic() + WAIT_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"nothing in {WAIT_S:g} s: {told()}"
        time.sleep(PAUSE_S)
    return answer


async def until_on_loop(condition: Callable[[], T], *, told: Callable[[], object] = str) -> T:
    """Do as ``until`` does, and let the loop run meanwhile."""
    deadline = time.monotonic() + WAIT_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"nothing in {WAIT_S:g} s: {told()}"
        await asyncio.sleep(PAUSE_S)
    return answer
