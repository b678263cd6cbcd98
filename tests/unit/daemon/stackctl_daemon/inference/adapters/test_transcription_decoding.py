from __future__ import annotations

import pytest

from stackctl_daemon.inference.adapters.transcription_decoding import going_round


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_a_turn_that_comes_again_and_again_is_a_loop(size: int) -> None:
    assert going_round([900, 901, 902, *(list(range(size)) * 64)[:64]])


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_shorter_stretch_of_it_is_a_speaker_who_repeats_himself(size: int) -> None:
    turns = (list(range(size)) * 64)[:63]

    assert not going_round(turns)
    assert not going_round([900, *turns])
    assert not going_round([*turns, 900])


def test_a_longer_turn_is_left_alone() -> None:
    assert not going_round(list(range(17)) * 8)
