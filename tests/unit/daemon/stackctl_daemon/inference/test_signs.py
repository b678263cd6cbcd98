from __future__ import annotations

from stackctl_daemon.inference.signs import MAX_TUNE_S, Signs


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_process_is_lost_while_it_owes_something() -> None:
    clock = Clock()
    signs = Signs(10.0, clock)
    clock.now += 9

    assert signs.lost(owes=False, tunes=False) == ""
    clock.now += 9
    assert signs.lost(owes=True, tunes=False) == ""
    clock.now += 2
    assert signs.lost(owes=True, tunes=False) == "silent_s=11.0"
    assert signs.lost(owes=True, tunes=True) == ""
    clock.now += MAX_TUNE_S
    assert signs.lost(owes=True, tunes=True)


def test_a_process_that_says_much_is_lost_by_its_oldest_job() -> None:
    clock = Clock()
    signs = Signs(10.0, clock)
    signs.busy(clock.now)

    for _ in range(10):
        clock.now += 1
        signs.heard()
        assert signs.lost(owes=False, tunes=False) == ""
    clock.now += 1
    signs.heard()
    assert signs.lost(owes=False, tunes=False) == "job_s=11.0"
    signs.busy(0.0)
    assert signs.lost(owes=False, tunes=False) == ""


def test_a_job_is_not_held_against_a_process_that_was_silent_since() -> None:
    clock = Clock()
    signs = Signs(10.0, clock)
    signs.busy(clock.now)
    clock.now += 11  # it opens a model, and does not see that the job ended

    assert signs.lost(owes=False, tunes=False) == ""
