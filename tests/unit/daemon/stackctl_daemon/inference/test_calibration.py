from __future__ import annotations

from pathlib import Path

from stackctl.contracts.device import Device
from stackctl_daemon.inference.calibration import Knees, Sweep
from stackctl_daemon.inference.state_file import StateFile

BUDGETS = [256, 512, 1024, 2048, 4096, 8192]


class Machine:
    """Batches cost a fixed time and more by their size; from a size on, only the latter counts."""

    def __init__(self, *, fixed_s: float, fails_from: int = 1 << 30) -> None:
        self.now = 0.0
        self.fixed_s = fixed_s
        self.fails_from = fails_from

    def measure(self, budget: int) -> list[tuple[int, int, float]]:
        if budget >= self.fails_from:
            raise MemoryError("too large")
        took = self.fixed_s + budget / 10_000
        self.now += took
        return [(budget // 16, budget, took)]


def swept(machine: Machine, seconds: float = 60.0) -> Sweep:
    sweep = Sweep(machine.measure, BUDGETS, seconds=seconds, clock=lambda: machine.now)
    while sweep.step():
        pass
    return sweep


def test_the_knee_is_the_smallest_budget_near_the_best() -> None:
    assert swept(Machine(fixed_s=0.0)).knee == 256
    assert swept(Machine(fixed_s=0.01)).knee == 2048


def test_a_flat_sweep_ends_early() -> None:
    assert [row.budget for row in swept(Machine(fixed_s=0.0)).rows] == BUDGETS[:3]


def test_time_bounds_the_sweep() -> None:
    machine = Machine(fixed_s=0.05)

    sweep = swept(machine, seconds=1.0)

    assert machine.now <= 1.0
    assert sweep.knee > 0


def test_what_fails_ends_the_sweep_and_keeps_what_was_measured() -> None:
    sweep = swept(Machine(fixed_s=1.0, fails_from=2048))

    assert sweep.knee == 1024
    assert "2048 fails: too large" in sweep.problem


def test_a_budget_belongs_to_model_and_device_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "area" / "budgets.json"
    one = Device(id="cpu:0", kind="cpu", name="CPU", cores=[0])
    two = Device(id="cpu:1", kind="cpu", name="CPU", cores=[1, 2])
    Knees(StateFile(file, int)).put("m@1", one, 512)

    again = Knees(StateFile(file, int))

    assert [again.get("m@1", one), again.get("m@1", two), again.get("m@2", one)] == [512, 0, 0]


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "budgets.json"
    file.write_text('{"a": 1, ')

    assert StateFile(file, int).read() == {}
    assert file.with_suffix(".damaged").read_text() == '{"a": 1, '
