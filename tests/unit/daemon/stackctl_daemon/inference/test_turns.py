"""Whose turn it is, over any mix of lines and of what their turns take."""

from __future__ import annotations

import heapq
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl_daemon.inference.protocol import Priority
from stackctl_daemon.inference.turns import PATIENCE_S, Line, Turn, Turns

TURN_S = st.floats(0.02, 0.5)
"""A turn of the lines that always wait."""
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 0.9])
CALM = Line("interactive", "calm")
BULK = Line("batch", "bulk")


def run(turns: Turns, lengths: dict[Line, float], *, seconds: float) -> dict[Line, float]:
    """Have all of the lines wait all the time; give what each had."""
    had = dict.fromkeys(lengths, 0.0)
    while sum(had.values()) < seconds:
        turn = turns.choose(dict.fromkeys(lengths, 1))
        assert turn is not None
        had[turn.line] += lengths[turn.line]
        turns.charge(turn, lengths[turn.line])
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
        turn = turns.choose({CALM: 1, BULK: 2})
        assert turn is not None
        line = turn.line
        turns.charge(turn, calm if line is CALM else bulk)
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
        turn = turns.choose(dict.fromkeys(lines, 1))
        assert turn is not None
        line = turn.line
        turns.charge(turn, lines[line])
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

    turn = turns.choose({CALM: 2, BULK: 1})

    assert turn is not None
    assert turn.line == CALM


def test_of_two_that_had_the_same_the_first_to_come_is_first() -> None:
    lines = [Line("interactive", name) for name in "abc"]

    turn = Turns().choose(dict(zip(lines, (3, 1, 2), strict=True)))

    assert turn is not None
    assert turn.line == lines[1]


def test_models_that_went_are_forgotten() -> None:
    turns = Turns()
    for i in range(1000):
        run(turns, {Line("interactive", f"m{i}"): 1.0, CALM: 1.0}, seconds=2)

    lines = turns._lines["interactive"]
    assert max(len(lines._had), len(lines._took)) < 200


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
        turn = turns.choose(dict.fromkeys(sorted(waiting), 1))

        assert (turn is None) == (not waiting)
        if turn is not None:
            assert turn.line in waiting
            turns.charge(turn, seconds)


class Side:
    """A device that runs several turns at once, of lines that all wait all the time."""

    def __init__(
        self, turns: Turns, lengths: dict[Line, float], *, slots: int, limits: dict[str, int]
    ) -> None:
        self.had = dict.fromkeys(lengths, 0.0)
        self.waited = dict.fromkeys(lengths, 0.0)
        """The longest that each was without a turn."""
        self._turns, self._lengths, self._slots, self._limits = turns, lengths, slots, limits
        self._running: list[tuple[float, int, Turn]] = []
        self._began = dict.fromkeys(lengths, 0.0)
        self._now, self._count = 0.0, 0

    def run(self, seconds: float) -> None:
        while self._now < seconds:
            self._fill()
            self._now, _, turn = heapq.heappop(self._running)
            self._turns.charge(turn, self._lengths[turn.line])
            self.had[turn.line] += self._lengths[turn.line]
        for line, began in self._began.items():
            self.waited[line] = max(self.waited[line], self._now - began)

    def _fill(self) -> None:
        while len(self._running) < self._slots:
            busy = Counter(turn.line.key for *_, turn in self._running)
            may = {line for line in self._lengths if busy[line.key] < self._limits[line.key]}
            turn = self._turns.choose(dict.fromkeys(self._lengths, 1), may)
            assert (turn is None) == (not may), "a slot is left empty"
            if turn is None:
                return
            assert turn.line in may
            self._count += 1
            self.waited[turn.line] = max(
                self.waited[turn.line], self._now - self._began[turn.line]
            )
            self._began[turn.line] = self._now
            heapq.heappush(
                self._running, (self._now + self._lengths[turn.line], self._count, turn)
            )


SIDES = st.builds(
    Side,
    st.builds(Turns, st.sampled_from([0.05, 0.1, 0.25])),
    st.dictionaries(
        st.builds(
            Line,
            st.sampled_from(["interactive", "batch"]),
            st.sampled_from("abc"),
            st.booleans(),
        ),
        st.floats(0.5, 1.0),
        min_size=1,
    ),
    slots=st.integers(1, 8),
    limits=st.fixed_dictionaries(dict.fromkeys("abc", st.integers(1, 8))),
)


@given(side=SIDES)
@settings(deadline=None, max_examples=25)
def test_beside_others_none_waits_longer_than_a_bound_and_no_slot_is_idle(side: Side) -> None:
    """Whatever the other models' limits are."""
    side.run(200.0)

    # Each of six lines of batch work has a second for twenty of interactive work.
    assert max(side.waited.values()) <= 100.0


@given(
    share=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
    calm=st.floats(0.05, 0.3),
    bulk=st.floats(0.05, 0.3),
    slots=st.integers(1, 8),
    limit=st.integers(1, 8),
)
@settings(deadline=None, max_examples=25)
def test_the_share_converges_with_any_number_of_turns_at_once(
    share: float, calm: float, bulk: float, slots: int, limit: int
) -> None:
    """Of one model, or of two whose limits are all the slots."""
    for other in ("calm", "bulk"):
        lines = {CALM: calm, Line("batch", other): bulk}
        side = Side(
            Turns(share), lines, slots=slots, limits=dict.fromkeys(["calm", "bulk"], limit)
        )
        if other == "bulk" and limit < slots:
            continue
        side.run(20.0)

        had = side.had[Line("batch", other)]
        total = sum(side.had.values())
        assert abs(had - share * total) <= (slots + 1) * (calm + bulk)


def test_what_a_model_at_its_limit_leaves_over_is_not_held_against_batch_work() -> None:
    """One model's lines share one slot by their shares, whatever fills the other."""
    turns, mine = Turns(0.1), Line("batch", "calm")
    lengths = {CALM: 0.05, mine: 0.05, BULK: 0.05}
    side = Side(turns, lengths, slots=2, limits={"calm": 1, "bulk": 1})
    side.run(100.0)

    assert side.had[BULK] == pytest.approx(100, rel=0.01)
    assert side.had[mine] == pytest.approx(10, rel=0.05)


def test_interactive_work_that_nobody_could_replace_earns_batch_work_nothing() -> None:
    turns, other = Turns(0.1), Line("batch", "other")
    apart = Side(turns, {CALM: 0.1, BULK: 0.1}, slots=2, limits={"calm": 1, "bulk": 1})
    apart.run(300.0)
    had = run(turns, {CALM: 0.1, other: 0.1}, seconds=10)

    assert had[other] <= 1.2
