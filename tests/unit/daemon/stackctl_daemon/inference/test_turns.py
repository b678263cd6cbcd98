"""Whose turn it is, over any mix of lines and of what their turns take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference.protocol import Priority
from stackctl_daemon.inference.turns import PATIENCE_S, Line, Turns

TURN_S = st.floats(0.02, 0.5)
"""A turn of the lines that always wait."""
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 0.9])
CALM = Line("interactive", "calm")
BULK = Line("batch", "bulk")


def run(turns: Turns, lengths: dict[Line, float], *, seconds: float) -> dict[Line, float]:
    """Have all of the lines wait all the time; give what each had."""
    had = dict.fromkeys(lengths, 0.0)
    while sum(had.values()) < seconds:
        line = turns.choose(dict.fromkeys(lengths, 1))
        assert line is not None
        had[line] += lengths[line]
        turns.charge(line, lengths[line])
    return had


@given(share=SHARES.filter(bool), calm=TURN_S, bulk=TURN_S)
def test_the_share_of_batch_work_converges(share: float, calm: float, bulk: float) -> None:
    had = run(Turns(share), {CALM: calm, BULK: bulk}, seconds=40)

    owed = share * sum(had.values())
    assert owed - calm - bulk <= had[BULK] <= owed + calm + bulk


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_share_is_exact_where_turns_are_short(share: float) -> None:
    had = run(Turns(share), {CALM: 0.01, BULK: 0.03}, seconds=300)

    assert had[BULK] / sum(had.values()) == pytest.approx(share, rel=0.02)


@given(share=SHARES, calm=st.floats(0.001, 60), bulk=st.floats(0.001, 60))
def test_neither_priority_waits_longer_than_a_bound(
    share: float, calm: float, bulk: float
) -> None:
    """Even beside turns of a minute, and for a share of 0."""
    turns = Turns(share)
    since = {CALM: 0.0, BULK: 0.0}
    """What each had since the other one's last turn."""
    for _ in range(400):
        line = turns.choose({CALM: 1, BULK: 2})
        assert line is not None
        turns.charge(line, calm if line is CALM else bulk)
        since[line] += calm if line is CALM else bulk
        since[BULK if line is CALM else CALM] = 0.0

        assert since[CALM] <= PATIENCE_S + calm
        assert since[BULK] <= bulk + calm * share / (1 - share) + 1e-6


LINES = st.lists(st.floats(0.001, 60), min_size=2, max_size=6)


@given(
    lengths=LINES, priority=st.sampled_from(["interactive", "batch"]), streamed=st.integers(0, 5)
)
def test_no_model_waits_longer_than_a_bound(
    lengths: list[float], priority: Priority, streamed: int
) -> None:
    """Models of long batches and of short ones, and the steps of streams beside them."""
    lines = {Line(priority, f"m{i}", i < streamed): s for i, s in enumerate(lengths)}
    bound = (len(lines) - 1) * (PATIENCE_S + 2 * max(lengths))
    turns, waited = Turns(), dict.fromkeys(lines, 0.0)
    for _ in range(300):
        line = turns.choose(dict.fromkeys(lines, 1))
        assert line is not None
        turns.charge(line, lines[line])
        waited = {other: waited[other] + lines[line] for other in lines} | {line: 0.0}

        assert max(waited.values()) <= bound


@given(lengths=st.lists(st.floats(0.2, PATIENCE_S), min_size=2, max_size=6))
def test_models_have_the_same_time(lengths: list[float]) -> None:
    lines = {Line("interactive", f"m{i}", i % 2 == 0): s for i, s in enumerate(lengths)}
    had = run(Turns(), lines, seconds=8 * sum(lengths))

    assert max(had.values()) - min(had.values()) <= 2 * max(lengths)


def test_whoever_did_not_wait_has_saved_up_nothing() -> None:
    turns, light, heavy = Turns(), Line("interactive", "light"), Line("interactive", "heavy")
    run(turns, {heavy: 1.0}, seconds=100)
    had = run(turns, {light: 0.01, heavy: 1.0}, seconds=10)

    assert had[heavy] == pytest.approx(5, abs=1)


def test_batch_work_that_ran_alone_is_not_held_against_it() -> None:
    turns = Turns(0.1)
    run(turns, {BULK: 1.0}, seconds=1000)
    had = run(turns, {BULK: 0.1, CALM: 0.1}, seconds=100)

    assert had[BULK] == pytest.approx(10, rel=0.1)


def test_interactive_work_alone_earns_batch_work_nothing() -> None:
    turns = Turns(0.1)
    run(turns, {CALM: 1.0}, seconds=1000)

    assert turns.choose({CALM: 2, BULK: 1}) == CALM


def test_of_two_that_had_the_same_the_first_to_come_is_first() -> None:
    lines = [Line("interactive", name) for name in "abc"]

    assert Turns().choose(dict(zip(lines, (3, 1, 2), strict=True))) == lines[1]


def test_models_that_went_are_forgotten() -> None:
    turns = Turns()
    for i in range(1000):
        run(turns, {Line("interactive", f"m{i}"): 1.0, CALM: 1.0}, seconds=2)

    assert len(turns._interactive._had) < 200


@given(
    share=SHARES,
    moments=st.lists(
        st.tuples(
            st.sets(st.sampled_from([CALM, BULK, Line("batch", "b"), Line("interactive", "c")])),
            st.floats(0, 5),
        ),
        max_size=40,
    ),
)
def test_the_device_never_idles_while_anybody_waits(
    share: float, moments: list[tuple[set[Line], float]]
) -> None:
    turns = Turns(share)
    for waiting, seconds in moments:
        line = turns.choose(dict.fromkeys(sorted(waiting), 1))

        assert (line is None) == (not waiting)
        if line is not None:
            assert line in waiting
            turns.charge(line, seconds)
