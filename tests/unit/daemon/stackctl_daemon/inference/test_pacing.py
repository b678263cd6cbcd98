"""Batches that follow a target of latency, on a device whose durations are a formula."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl_daemon.inference.batching import Item, LengthQueue
from stackctl_daemon.inference.pacing import CostModel, Pacer


@dataclass(eq=False)
class Asked:
    at: float
    cost: int
    left: int
    user: int
    begun: float = -1.0


@dataclass
class Device:
    """One device, the worker's own queue, a virtual clock; a batch takes ``a + b * cost``."""

    a: float
    b: float
    full: int
    target_s: float = 0.0
    now: float = 0.0
    noise: float = 0.0
    seed: int = 7
    served: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.queue: LengthQueue[Asked] = LengthQueue()
        self.coming: list[tuple[float, int, int, int, int]] = []
        self.number = 0
        self.pacer = Pacer(self.target_s, self.full, clock=lambda: self.now)

    def ask(self, at: float, length: int, count: int = 1, user: int = 1) -> None:
        self.number += 1
        heapq.heappush(self.coming, (at, self.number, length, count, user))

    def poisson(self, rate: float, until: float, length: int, user: int = 1) -> None:
        at = self.now
        while (at := at + self.random.expovariate(rate)) < until:
            self.ask(at, length, user=user)

    def run(self, until: float) -> None:
        while self.now < until and (self.coming or self.queue):
            if not self.queue:
                self.now = max(self.now, self.coming[0][0])
            while self.coming and self.coming[0][0] <= self.now:
                at, number, length, count, user = heapq.heappop(self.coming)
                asked = Asked(at, length * count, count, user)
                for row in range(count):
                    self.queue.add(Item(length, number * 10_000 + row, row, None, asked, user))
            budget = self.pacer.budget if self.target_s else self.full
            self.compute(self.queue.take(budget))

    def compute(self, batch: list[Item[Asked]]) -> None:
        start, cost = self.now, max(item.length for item in batch) * len(batch)
        took = (self.a + self.b * cost) * (1 + self.noise * self.random.random())
        self.now += took
        self.pacer.batch(cost, took)
        for item in batch:
            asked = item.request
            asked.begun = start if asked.begun < 0 else asked.begun
            asked.left -= 1
            if not asked.left:
                service = self.now - asked.at
                self.served.setdefault(asked.user, []).append((self.now, service))
                self.pacer.served(asked.cost, service, asked.begun - asked.at)

    def p95(self, user: int, since: float) -> float:
        found = sorted(s for at, s in self.served[user] if at >= since)
        assert len(found) >= 20
        return found[int(0.95 * len(found))]


def mixed(target_s: float, **more: float) -> Device:
    """One who asks 16 tokens now and then, beside another whose long texts never end."""
    device = Device(0.002, 0.0002, 4096, target_s, **more)  # type: ignore[arg-type]  # noise
    for second in range(60):
        for _ in range(2):
            device.ask(second, 256, count=16, user=2)
    device.poisson(8, 60, 16, user=1)
    device.run(60)
    return device


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_where_batches_are_the_cause_they_shrink_until_the_target_is_met(noise: float) -> None:
    without, kept = mixed(0.0, noise=noise), mixed(0.25, noise=noise)

    assert without.p95(1, since=20) > 0.5
    assert kept.p95(1, since=20) < 0.25
    assert kept.pacer.budget < 1024
    # Who is not in a hurry is still served: less than a tenth of a batch is overhead.
    assert len(kept.served[2]) > 0.8 * len(without.served[2])


def test_where_a_queue_is_the_cause_batches_grow_beyond_what_was_calibrated() -> None:
    device = Device(0.020, 0.0001, 64, 0.3)  # at 64 tokens three quarters of a batch are overhead
    device.poisson(300, 40, 16)
    device.run(40)

    assert device.pacer.budget > 64
    assert device.p95(1, since=20) < 0.3

    fixed = Device(0.020, 0.0001, 64)
    fixed.poisson(300, 40, 16)
    fixed.run(40)
    assert fixed.p95(1, since=20) > 3  # what arrives is more than such batches can do


def test_a_queue_that_larger_batches_do_not_drain_leaves_them_as_small_as_the_target_asks() -> (
    None
):
    device = Device(0.0, 0.001, 512, 0.1)
    device.poisson(80, 30, 16)  # more than the device can do, in whatever batches
    device.run(30)

    assert device.pacer.budget <= 64


def test_a_target_that_is_met_leaves_the_budget_as_it_was_calibrated() -> None:
    device = Device(0.002, 0.0001, 512, 1.0)
    device.poisson(50, 20, 16)
    device.run(20)

    assert device.pacer.budget == 512


def test_when_the_bulk_has_gone_the_budget_comes_back() -> None:
    device = mixed(0.25)
    shrunk = device.pacer.budget
    device.coming.clear()
    while device.queue:
        device.queue.take(1 << 30)
    device.poisson(50, device.now + 60, 16, user=3)
    device.run(device.now + 60)

    # As far as two batches fit into 0.8 of the target by the line, 490 tokens.
    assert device.pacer.budget > shrunk or device.pacer.budget >= 390
    assert 2 * (0.002 + 0.0002 * device.pacer.budget) <= 0.25


def test_what_cannot_be_in_time_by_itself_is_not_judged_by() -> None:
    device = Device(0.002, 0.0002, 512, 0.2)
    for second in range(30):
        device.ask(second, 256, count=60)  # 3 s of computing each
    device.run(30)

    assert device.pacer.budget == 512
    assert device.pacer.p95_s() == 0


@settings(max_examples=40, deadline=None)
@given(
    a=st.floats(0.0, 0.05),
    b=st.floats(1e-6, 1e-3),
    full=st.sampled_from([1, 8, 256, 4096]),
    target_s=st.floats(0.005, 2),
    rate=st.floats(1, 100),
    noise=st.floats(0, 1),
)
def test_the_budget_stays_within_its_bounds(
    *, a: float, b: float, full: int, target_s: float, rate: float, noise: float
) -> None:
    device = Device(a, b, full, target_s, noise=noise)
    device.poisson(rate, 10, 16)
    device.poisson(1, 10, 128, user=2)
    step = 0.0
    while step < 10:
        step += 0.5
        device.run(step)

        assert max(1, full // 64) <= device.pacer.budget <= full * 4


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(1e-4, 0.05),
    b=st.floats(1e-6, 1e-3),
    low=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_the_line_is_found_in_spite_of_batches_that_were_interrupted(
    a: float, b: float, low: int, seed: int
) -> None:
    model, draw = CostModel(), random.Random(seed)
    sizes = [2**power for power in range(low, low + 6)]
    for cost in sizes:
        slow = {1: 20.0, 3: 5.0}  # two of five were interrupted
        for number in range(5):
            model.add(cost, (a + b * cost) * slow.get(number, draw.uniform(0.97, 1.03)))
    line = model.line()

    assert line is not None
    for cost in sizes:
        assert 0.8 < line.duration_s(cost) / (a + b * cost) < 1.25


def test_batches_of_one_size_tell_what_a_unit_of_cost_takes() -> None:
    model = CostModel()
    assert model.line() is None
    for _ in range(3):
        model.add(100, 0.5)
    model.add(0, 1.0)

    assert model.line() == (0.0, 0.005)


def test_news_are_rare_and_only_of_what_changed() -> None:
    now = [0.0]
    pacer = Pacer(0.1, 512, clock=lambda: now[0])
    told = []
    for _ in range(200):
        now[0] += 0.01
        pacer.batch(160, 0.01)
        pacer.served(16, 0.02, 0.01)
        told.append(pacer.news())

    assert [one for one in told if one] == [(512, 0.02)]


def test_a_calibration_sets_the_budget_and_what_batches_take() -> None:
    pacer = Pacer(0.1, 512)
    pacer.calibrated(2048, [(256, 0.3), (2048, 2.1), (4096, 4.2)])

    line = pacer.costs.line()
    assert (pacer.full, pacer.budget) == (2048, 2048)
    assert line is not None
    assert line.duration_s(1024) == pytest.approx(1.06, rel=0.05)


@pytest.mark.parametrize("asked", [True, False])
def test_batch_requests_are_judged_by_only_where_nobody_else_asks(asked: bool) -> None:
    """They wait for the others by their nature: that says nothing of what the others wait."""
    now = [0.0]
    pacer = Pacer(0.1, 1024, clock=lambda: now[0])
    for _ in range(200):
        now[0] += 0.05
        pacer.batch(512, 0.03)
        if asked:
            pacer.served(16, 0.05, 0.02)
        pacer.served(16, 4.0, 0.04, interactive=False)

    assert (pacer.budget == 1024) == asked
    assert pacer.p95_s() == (0.05 if asked else 4.0)

    now[0] += 10
    pacer.served(16, 4.0, 0.04, interactive=False)

    assert pacer.p95_s() == 4.0
