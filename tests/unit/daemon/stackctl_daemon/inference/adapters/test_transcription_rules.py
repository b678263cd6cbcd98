from __future__ import annotations

import numpy as np
import pytest

from stackctl_daemon.inference.adapters.transcription_rules import (
    Rules,
    Segment,
    Vocabulary,
    repetition,
    segments,
)

END, START, PREVIOUS, SILENT, TIMES = 10, 11, 12, 13, 15
VOCABULARY = Vocabulary(
    size=TIMES + 101,
    end=END,
    start=START,
    previous=PREVIOUS,
    silent=SILENT,
    times=TIMES,
    languages={},
    tasks={},
    never=(3, PREVIOUS),
    not_first=(0, END),
)


def allowed(*said: int, **logits: float) -> set[int]:
    scores = np.zeros(VOCABULARY.size, np.float32)
    scores[:TIMES] = 9  # so that a word is likelier than all the timestamps
    for name, value in logits.items():
        scores[int(name[1:])] = value
    logs = Rules(VOCABULARY).allow(scores, said)
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-5)
    return set(np.flatnonzero(np.isfinite(logs)).tolist())


WORDS = {0, 1, 2, 4, 5, 6, 7, 8, 9}


def test_a_window_begins_with_a_timestamp_of_its_first_second() -> None:
    assert allowed() == set(range(TIMES, TIMES + 51))


def test_after_the_first_timestamp_comes_text_or_the_end() -> None:
    assert allowed(TIMES) == {*WORDS, END}


def test_a_closing_timestamp_is_followed_by_another_or_the_end() -> None:
    assert allowed(TIMES, 1, TIMES + 40) == {END, *range(TIMES + 40, TIMES + 101)}


def test_timestamps_do_not_go_back() -> None:
    assert allowed(TIMES, 1) == {*WORDS, END, *range(TIMES + 1, TIMES + 101)}
    assert allowed(TIMES, 1, TIMES + 40, TIMES + 40, 2) == {
        *WORDS,
        END,
        *range(TIMES + 41, TIMES + 101),
    }


def test_timestamps_likelier_than_any_word_are_taken() -> None:
    likely = {f"t{TIMES + i}": 8.0 for i in range(5, 15)}

    assert allowed(TIMES, 1, **likely) == set(range(TIMES + 1, TIMES + 101))


def test_what_is_no_speech_is_never_said() -> None:
    for said in ((), (TIMES,), (TIMES, 1), (TIMES, 1, TIMES + 2)):
        assert not allowed(*said) & {3, START, PREVIOUS, SILENT, TIMES - 1}


@pytest.mark.parametrize(
    ("said", "expected", "following"),
    [
        # Whole segments, and the next window begins where the last of them ended.
        (
            [15, 1, 2, 25, 25, 4, 45, 45, 5],
            [Segment(0, 10, [1, 2]), Segment(10, 30, [4])],
            30,
        ),
        # A single timestamp at the end: nothing more is said in this window.
        (
            [15, 1, 25, 25, 4, 45],
            [Segment(0, 10, [1]), Segment(10, 30, [4])],
            100,
        ),
        ([15, 1, 2, 45], [Segment(0, 30, [1, 2])], 100),
        ([15, 1, 2], [Segment(0, 100, [1, 2])], 100),
        ([], [Segment(0, 100, [])], 100),
        # Two timestamps at the very start would begin the next window here: it moves on.
        ([15, 15, 1], [Segment(0, 0, [])], 100),
    ],
)
def test_a_window_is_cut_at_pairs_of_timestamps(
    said: list[int], expected: list[Segment], following: int
) -> None:
    assert segments(said, VOCABULARY, length=100) == (expected, following)


def test_a_loop_can_be_told_from_speech() -> None:
    assert repetition("") == 0
    assert repetition("Ever tried, ever failed. No matter, try again.") < 2.4
    assert repetition("so so so " * 60) > 2.4
