"""Segments as `get_speech_timestamps_from_probs` of silero-vad 6.2.3 gives them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference.adapters.voice_activity import WINDOW, Cutting, cut

USUAL = Cutting()


def spans(*runs: tuple[float, int], cutting: Cutting = USUAL) -> list[tuple[int, int]]:
    track = np.concatenate([np.full(count, value, np.float32) for value, count in runs])
    return cut(track, len(track) * WINDOW, cutting)


def test_speech_is_padded_on_both_sides() -> None:
    assert spans((0.0, 10), (0.9, 20), (0.0, 10)) == [(10 * 512 - 480, 30 * 512 + 480)]


def test_short_noise_is_no_speech_and_a_short_pause_no_end() -> None:
    assert spans((0.0, 10), (0.9, 5), (0.0, 10)) == []
    assert len(spans((0.9, 20), (0.0, 3), (0.9, 20), (0.0, 9))) == 1
    assert len(spans((0.9, 20), (0.0, 5), (0.9, 20), (0.0, 9))) == 2


def test_between_the_thresholds_speech_goes_on_and_does_not_begin() -> None:
    assert spans((0.4, 40)) == []
    assert spans((0.9, 10), (0.4, 30)) == [(0, 40 * 512)]
    assert spans((0.9, 10), (0.3, 30)) == [(0, 10 * 512 + 480)]


def test_neighbours_share_a_pause_shorter_than_their_padding() -> None:
    found = spans((0.9, 20), (0.0, 5), (0.9, 20), cutting=Cutting(pad_s=0.2))

    assert found == [(0, 20 * 512 + 1280), (25 * 512 - 1280, 45 * 512)]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 30)), min_size=1, max_size=20),
    st.floats(0.05, 1),
    st.floats(0, 2),
)
def test_segments_are_in_order_and_inside(
    runs: list[tuple[float, int]], threshold: float, pad_s: float
) -> None:
    found = spans(*runs, cutting=Cutting(threshold=threshold, pad_s=pad_s))

    edges = [edge for span in found for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= edge <= sum(count for _, count in runs) * WINDOW for edge in edges)


def test_no_probability_is_left_out() -> None:
    with pytest.raises(ValueError, match="zip"):
        cut(np.zeros(3, np.float32), WINDOW, Cutting())
