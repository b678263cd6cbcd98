"""Boxes of text from maps whose boxes are known."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stackctl_daemon.inference.adapters.ocr_boxes import (
    BoxRules,
    _components,
    find_boxes,
    reading_order,
    smallest_rectangle,
)

RULES = BoxRules()


def drawn(*boxes: tuple[float, float, float, float, float]) -> np.ndarray:
    """A map with rectangles: middle x, y, width, height, degrees with the clock."""
    ys, xs = np.mgrid[0:200, 0:300].astype(np.float64)
    found = np.zeros((200, 300), np.float32)
    for cx, cy, width, height, degrees in boxes:
        angle = np.radians(degrees)
        u = (xs - cx) * np.cos(angle) + (ys - cy) * np.sin(angle)
        v = -(xs - cx) * np.sin(angle) + (ys - cy) * np.cos(angle)
        found[(np.abs(u) <= width / 2) & (np.abs(v) <= height / 2)] = 0.9
    return found


@pytest.mark.parametrize("degrees", [0, 7, -20, 40])
def test_a_rectangle_is_found_with_its_margin(degrees: float) -> None:
    [box] = find_boxes(drawn((150, 100, 120, 20, degrees)), RULES)

    width = float(np.linalg.norm(box.corners[1] - box.corners[0]))
    height = float(np.linalg.norm(box.corners[3] - box.corners[0]))
    margin = 2 * (120 * 20 * 1.6) / (2 * (120 + 20))
    along = box.corners[1] - box.corners[0]
    assert width == pytest.approx(120 + margin, abs=4)
    assert height == pytest.approx(20 + margin, abs=4)
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(degrees, abs=1.5)
    assert box.corners.mean(0) == pytest.approx([150, 100], abs=1.5)
    assert box.score == pytest.approx(0.9, abs=0.12)  # its drawn sides count


def test_several_boxes_are_told_apart() -> None:
    boxes = find_boxes(
        drawn((60, 40, 80, 14, 0), (220, 40, 90, 14, 0), (150, 140, 200, 20, 3)), RULES
    )

    assert len(boxes) == 3


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros((64, 64), np.float32),
        drawn((150, 100, 120, 20, 0)) * 0.5,  # mean 0.45
        drawn((50, 50, 1, 60, 0)),  # too thin
        np.full((32, 32), np.nan, np.float32),
    ],
)
def test_faint_and_thin_spots_are_no_text(scores: np.ndarray) -> None:
    assert find_boxes(scores, RULES) == []


def test_a_ring_is_one_box() -> None:
    scores = drawn((150, 100, 120, 60, 0))
    scores[90:110, 110:190] = 0.31

    assert len(find_boxes(scores, RULES)) == 1


def test_a_full_map_is_one_box() -> None:
    [box] = find_boxes(np.ones((32, 64), np.float32), RULES)

    assert box.score == 1


def filled(mask: np.ndarray) -> set[frozenset[tuple[int, int]]]:
    """Components by flooding, pixel by pixel."""
    left = {(int(x), int(y)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = set()
    while left:
        queue, part = deque([left.pop()]), set()
        while queue:
            x, y = queue.popleft()
            part.add((x, y))
            near = {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            queue.extend(near)
        found.add(frozenset(part))
    return found


@settings(max_examples=150, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_components_are_those_of_flooding(mask: np.ndarray) -> None:
    expected = filled(mask)

    found = _components(mask)

    assert len(found) == len(expected)
    ends = {frozenset(map(tuple, part.astype(int).tolist())) for part in found}
    assert all(any(some <= part for part in expected) for some in ends)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 180), st.floats(5, 90), st.floats(1, 60))
def test_smallest_rectangle_of_a_rectangle_is_itself(
    degrees: float, width: float, height: float
) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    hull = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ turn.T

    corners, short = smallest_rectangle(hull)

    assert short == pytest.approx(min(width, height), abs=1e-6)
    assert corners.mean(0) == pytest.approx(hull.mean(0), abs=1e-6)


def box_at(x: float, y: float, height: float = 10) -> np.ndarray:
    return np.array([[x, y], [x + 50, y], [x + 50, y + height], [x, y + height]], np.float64)


def test_lines_from_the_top_and_boxes_from_the_left() -> None:
    boxes = [box_at(100, 2), box_at(0, 40), box_at(0, 0), box_at(100, 37)]

    assert reading_order(boxes) == [[2, 0], [1, 3]]
    assert reading_order([]) == []
