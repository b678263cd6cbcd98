"""Where text is, from a map of how likely each pixel is text; refuses to read it.

Source: the post-processing of Liao et al. 2020, "Real-time Scene Text Detection with
Differentiable Binarization", as PP-OCR sets it up (Du et al. 2020): threshold, connected
components, the smallest rectangle around each, its mean score, and a margin of
area x ratio / perimeter. Holes are not looked at: their rectangles score below any threshold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl_daemon.inference.adapters.base import FloatArray

Mask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Points = npt.NDArray[np.float64]


class BoxRules(NamedTuple):
    """What counts as text; the defaults are PP-OCR's."""

    threshold: float = 0.3
    """Above it a pixel is text."""
    box_threshold: float = 0.5
    """The mean over a box must reach it."""
    unclip: float = 1.6
    """The model is trained on shrunken boxes: how far they are blown up again."""
    max_boxes: int = 1000
    min_size: float = 3.0
    """Pixels of the shorter side, before the margin."""


class Box(NamedTuple):
    """A rectangle in which there is text."""

    corners: Points
    """``(4, 2)`` x, y: top left, top right, bottom right, bottom left of the text."""
    score: float


def find_boxes(scores: FloatArray, rules: BoxRules) -> list[Box]:
    """Give the boxes of a map ``(height, width)`` float32 in 0..1, in its pixels."""
    mask = _dilated(scores > rules.threshold)
    found = []
    for points in _components(mask)[: rules.max_boxes]:
        corners, short = smallest_rectangle(_hull(points))
        if short < rules.min_size:
            continue
        score = _mean_inside(scores, corners)
        if score < rules.box_threshold:
            continue
        wide, short = _blown_up(corners, rules.unclip)
        if short >= rules.min_size + 2:
            found.append(Box(wide, score))
    return found


def reading_order(boxes: list[Points]) -> list[list[int]]:
    """Give the numbers of boxes, a list a line: lines from the top, boxes from the left.

    A box is on the line of the one before it, by height of the middle, when their middles are
    less than half of the lower one's height apart.
    """
    if not boxes:
        return []
    middles = np.array([box[:, 1].mean() for box in boxes])
    heights = np.array([np.linalg.norm(box[3] - box[0]) for box in boxes])
    lines: list[list[int]] = []
    last = -1
    for index in np.argsort(middles, kind="stable").tolist():
        near = lines and middles[index] - middles[last] < min(heights[index], heights[last]) / 2
        if near:
            lines[-1].append(index)
        else:
            lines.append([index])
        last = index
    return [sorted(line, key=lambda i: float(boxes[i][:, 0].min())) for line in lines]


def smallest_rectangle(hull: Points) -> tuple[Points, float]:
    """Give the rectangle of least area around a convex polygon, and its shorter side.

    One of its sides lies on a side of the polygon (Freeman & Shapira 1975).
    """
    edges = np.roll(hull, -1, 0) - hull
    length = np.hypot(edges[:, 0], edges[:, 1])
    kept = length > 0
    if not kept.any():
        return np.repeat(hull[:1], 4, 0), 0.0
    along = edges[kept] / length[kept, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    u, v = along @ hull.T, across @ hull.T
    u0, u1, v0, v1 = u.min(1), u.max(1), v.min(1), v.max(1)
    best = int(((u1 - u0) * (v1 - v0)).argmin())
    frame = np.stack([along[best], across[best]])
    sides = [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]
    corners = np.array([[a[best], b[best]] for a, b in sides]) @ frame
    return ordered(corners), float(min((u1 - u0)[best], (v1 - v0)[best]))


def ordered(corners: Points) -> Points:
    """Put corners in the order of `Box.corners`: the two leftmost are the left side."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def _dilated(mask: Mask) -> Mask:
    """Grow by one pixel to the right and down."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:, 1:] |= grown[:, :-1].copy()
    return grown


def _components(mask: Mask) -> list[Points]:
    """Give the ends of the rows of each connected component (8 neighbours).

    Rows are cut into runs, runs that touch are linked, and links are followed by taking the
    smallest number of both ends until nothing changes: no step looks at single pixels.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)  # exclusive
    count = len(rows)
    if not count:
        return []
    # Keys that order runs by row, then by column.
    stride = width + 1
    begin, end = rows * stride + starts, rows * stride + ends
    low = np.searchsorted(end, begin + stride, "left")
    high = np.maximum(np.searchsorted(begin, end + stride, "right"), low)
    many = high - low
    upper = np.repeat(np.arange(count), many)
    first = np.repeat(np.cumsum(many) - many, many)
    lower = np.repeat(low, many) + np.arange(len(upper)) - first
    label = _linked(count, upper, lower)
    order = np.argsort(label, kind="stable")
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    points = np.stack([starts, rows, ends - 1, rows], 1).astype(np.float64)
    return [points[group].reshape(-1, 2) for group in np.split(order, cuts)]


def _linked(count: int, a: IntArray, b: IntArray) -> IntArray:
    label = np.arange(count)
    while True:
        low = np.minimum(label[a], label[b])
        changed = label.copy()
        np.minimum.at(changed, label[a], low)
        np.minimum.at(changed, label[b], low)
        while True:
            jumped = changed[changed]
            if np.array_equal(jumped, changed):
                break
            changed = jumped
        if np.array_equal(changed, label):
            return label
        label = changed


def _hull(points: Points) -> Points:
    """Give the convex hull (Andrew 1979); points come by row."""
    rows = points[:, 1].astype(np.int64)
    rows -= rows[0]
    size = int(rows[-1]) + 1
    left, right = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(left, rows, points[:, 0])
    np.maximum.at(right, rows, points[:, 0])
    y = np.arange(size) + points[0, 1]
    one = _chain(list(zip(left.tolist(), y.tolist(), strict=True)), 1.0)
    two = _chain(list(zip(right.tolist(), y.tolist(), strict=True)), -1.0)
    found = one + two[::-1]
    return np.array([p for i, p in enumerate(found) if i == 0 or p != found[i - 1]])


def _chain(points: list[tuple[float, float]], side: float) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for x, y in points:
        while len(kept) >= 2:
            (ax, ay), (bx, by) = kept[-2], kept[-1]
            if side * ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) < 0:
                break
            kept.pop()
        kept.append((x, y))
    return kept


def _mean_inside(scores: FloatArray, corners: Points) -> float:
    """Give the mean of the pixels in or on a quadrilateral."""
    height, width = scores.shape
    x0, y0 = np.floor(corners.min(0)).astype(int).clip(0, [width - 1, height - 1])
    x1, y1 = np.ceil(corners.max(0)).astype(int).clip(0, [width - 1, height - 1])
    xs, ys = np.arange(x0, x1 + 1), np.arange(y0, y1 + 1)[:, None]
    inside: Any = True
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        # Within half a pixel of the side counts: the sides are drawn.
        margin = 0.5 * np.hypot(bx - ax, by - ay)
        inside = inside & ((bx - ax) * (ys - ay) - (by - ay) * (xs - ax) >= -margin)
    part = scores[y0 : y1 + 1, x0 : x1 + 1][inside]
    return float(part.mean()) if part.size else 0.0


def _blown_up(corners: Points, ratio: float) -> tuple[Points, float]:
    """Move the sides of a rectangle outwards.

    The rectangle around the polygon with round corners that Vatti's clipping gives: exact for
    rectangles.
    """
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    w, h = float(np.hypot(*right)), float(np.hypot(*down))
    distance = w * h * ratio / (2 * (w + h))
    dx, dy = right / w * distance, down / h * distance
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    moved = np.array([c + a * dx + b * dy for c, (a, b) in zip(corners, signs, strict=True)])
    return ordered(moved), min(w, h) + 2 * distance
