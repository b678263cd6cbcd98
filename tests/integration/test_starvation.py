"""Batch work beside a steady interactive load, and models beside each other, on a real daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from harness import Stack

pytestmark = pytest.mark.model

CLIENTS = 4
TEXTS = ["river copper lantern orchard signal winter harbour cotton engine violin sail"] * 64
"""More than a batch, so that something interactive always waits."""


@pytest.fixture(scope="module")
def stack(fetched_model: Path) -> Iterator[Stack]:
    with Stack(env={"STACKCTL_DEVICES__CPU_SETS": "[[0]]"}) as running:
        running.ok("POST", "/v1/embed", {"texts": TEXTS})
        yield running


class Load:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, stack: Stack, *, clients: int = CLIENTS) -> None:
        self._stack = stack
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(clients)
        self._clients = clients
        self.took: list[float] = []
        self.warm = threading.Event()

    def __enter__(self) -> Load:
        self._running = [self._threads.submit(self._ask) for _ in range(self._clients)]
        assert self.warm.wait(60)
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        self._threads.shutdown()
        for client in self._running:
            client.result()

    def _ask(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self._stack.ok("POST", "/v1/embed", {"texts": TEXTS})
            self.took.append(time.monotonic() - began)
            if len(self.took) >= 2 * self._clients:
                self.warm.set()

    def until(self, count: int) -> None:
        """Go on until so many were answered."""
        while len(self.took) < count:
            self.warm.clear()
            assert self.warm.wait(60)


def test_batch_work_has_its_share_beside_a_full_interactive_load(stack: Stack) -> None:
    many = [f"{TEXTS[0]} {i}" for i in range(150)]
    with Load(stack) as alone:
        alone.until(40)

    with Load(stack) as beside:
        first, began = len(beside.took), time.monotonic()
        done = stack.ok("POST", "/v1/embed", {"texts": many, "priority": "batch"}, timeout_s=300)
        elapsed_s, last = time.monotonic() - began, len(beside.took)

    share = done["compute_s"] / elapsed_s
    before, after = (
        float(np.quantile(t, 0.95)) for t in (alone.took[8:], beside.took[first:last])
    )
    print(
        f"share {share:.3f} in {elapsed_s:.1f} s, p95 {before:.3f} s alone, {after:.3f} s beside"
    )
    assert done["count"] == 150
    # 10 % of what the device computes; what it does beside computing counts in the time alone.
    assert 0.04 <= share <= 0.16
    assert after <= 2.5 * before
