"""The range that is looked at."""

from __future__ import annotations

from stackctl.tui.frame import WINDOWS, Frame

NOW_US = 1_772_359_217_000_000


def test_buckets_begin_at_multiples_of_the_step_and_cover_the_range() -> None:
    for window, (_, length, step) in enumerate(WINDOWS):
        frame = Frame(NOW_US, window)

        assert all(begin % (step * 1_000_000) == 0 for begin in frame.buckets)
        assert frame.buckets[0] <= NOW_US - length * 1_000_000
        assert NOW_US - frame.buckets[-1] <= step * 1_000_000


def test_a_step_back_and_forward_returns_to_now() -> None:
    back = Frame(NOW_US).stepped(-1)

    assert back.until_us == NOW_US - 1_800_000_000
    assert not back.live
    assert back.stepped(1).live


def test_no_range_is_shorter_or_longer_than_those_there_are() -> None:
    assert Frame(NOW_US, 0).resized(-1).name == "15m"
    assert Frame(NOW_US, 4).resized(1).name == "7d"
    assert Frame(NOW_US, 1, 5).resized(1) == Frame(NOW_US, 2, 5)


def test_no_step_goes_behind_the_epoch() -> None:
    assert Frame(NOW_US, 4, until_us=5).stepped(-9).until_us == 1
