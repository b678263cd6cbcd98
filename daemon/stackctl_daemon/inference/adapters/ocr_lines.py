"""Cuts lines of text out of a picture and reads them; refuses to look for them.

Source: PP-OCR (Du et al. 2020). A box is straightened, a tall one is turned by 90 degrees, a
small classifier suspects some of standing on their head, and a recogniser gives a character or
none (blank) for each step from left to right: repeated ones count once (CTC, Graves et al. 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import FloatArray, Session
from stackctl_daemon.inference.adapters.image import (
    Picture,
    Pixels,
    flatten,
    pixels,
    quarter_turn,
)
from stackctl_daemon.inference.adapters.ocr_boxes import Points

_HEIGHT = 48
"""Of a line, in pixels: what both models were trained on."""
_TURN_WIDTH = 192
_TALL = 1.5


class Line(NamedTuple):
    """What stands in a box."""

    text: str
    score: float
    """Mean likelihood of its characters; 0 where there are none."""
    turns: int = 0
    """Quarter turns against the clock that bring it upright."""


class Classifier:
    """Suspects lines of standing on their head."""

    def __init__(self, session: Session, threshold: float = 0.9, batch: int = 8) -> None:
        self._session, self._threshold, self._batch = session, threshold, batch
        self._input = next(iter(session.inputs))

    def suspects(self, lines: Sequence[Picture]) -> list[int]:
        """Give the numbers of the lines that are to be read the other way round too."""
        found: list[int] = []
        for start in range(0, len(lines), self._batch):
            part = lines[start : start + self._batch]
            images = [pixels(_scaled(line, _TURN_WIDTH)) for line in part]
            [scores] = self._session.run(None, {self._input: _tensor(images, _TURN_WIDTH)})
            found += (np.flatnonzero(scores[:, 1] > self._threshold) + start).tolist()
        return found


class Recogniser:
    """Reads lines, those of like width at once."""

    def __init__(self, session: Session, *, characters: Sequence[str], budget: int) -> None:
        self._session, self._budget = session, budget
        self._input = next(iter(session.inputs))
        self._characters = ["", *characters, " "]

    @classmethod
    def of(cls, session: Session, *, budget: int, model: str) -> Recogniser:
        """Take the characters from the graph's metadata, one a line.

        Raises:
            Failed: it has none.
        """
        known = session.metadata.get("character", "")
        if not known:
            raise Failed(
                f'model "{model}": its recogniser names no characters, expected them in the'
                ' metadata "character" of the graph'
            )
        return cls(session, characters=known.splitlines(), budget=budget)

    def read(self, lines: Sequence[Picture], min_width: int = 160) -> list[Line]:
        """Read straightened lines.

        Args:
            lines: any size.
            min_width: columns that a line is padded to; 320 in training, fewer read as well.

        Raises:
            Failed: the model gives another number of characters than it names.
        """
        images = [pixels(_scaled(line)) for line in lines]
        widths = [image.shape[1] for image in images]
        order = sorted(range(len(images)), key=widths.__getitem__)
        found: dict[int, Line] = {}
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order):
                width = max(min_width, widths[order[stop]])
                if width * (stop + 1 - start) > self._budget:
                    break
                stop += 1
            part = order[start:stop]
            width = max(min_width, widths[part[-1]])
            tensor = _tensor([images[i] for i in part], width)
            [scores] = self._session.run(None, {self._input: tensor})
            found.update(zip(part, self._decode(scores), strict=True))
            start = stop
        return [found[index] for index in range(len(lines))]

    def _decode(self, scores: FloatArray) -> list[Line]:
        if scores.shape[2] != len(self._characters):
            raise Failed(
                f"the recogniser gives {scores.shape[2]} characters and names"
                f" {len(self._characters) - 2}, expected two more: none and space"
            )
        best = scores.argmax(2)
        likely = np.take_along_axis(scores, best[:, :, None], 2)[:, :, 0]
        kept = best != 0
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
        return [
            Line(
                "".join(self._characters[i] for i in row[keep]),
                float(score[keep].mean()) if keep.any() else 0.0,
            )
            for row, score, keep in zip(best, likely, kept, strict=True)
        ]


def read_boxes(
    crops: Sequence[Picture], recogniser: Recogniser, classifier: Classifier | None
) -> list[Line]:
    """Read what `cut_out` gave.

    Tall ones are laid down. Those that may stand on their head are read both ways, and the
    likelier reading is kept: the classifier alone is wrong now and then about a clean line, which
    is then read as noise.
    """
    turns = [1 if crop.height / crop.width >= _TALL else 0 for crop in crops]
    lines = [
        quarter_turn(crop, turn) if turn else crop for crop, turn in zip(crops, turns, strict=True)
    ]
    suspects = classifier.suspects(lines) if classifier else []
    upended = [quarter_turn(lines[index], 2) for index in suspects]
    found = recogniser.read([*lines, *upended])
    best = [line._replace(turns=turn) for line, turn in zip(found, turns, strict=False)]
    for index, other in zip(suspects, found[len(lines) :], strict=True):
        if other.score > best[index].score:
            best[index] = other._replace(turns=turns[index] + 2)
    return best


def cut_out(picture: Picture, corners: Points) -> Picture:
    """Give what is inside a quadrilateral as a rectangle.

    Args:
        picture: RGB.
        corners: top left, top right, bottom right, bottom left, in its pixels.
    """
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    width, height = max(1, int(max(sides[0], sides[2]))), max(1, int(max(sides[1], sides[3])))
    return flatten(picture, corners, (width, height))


def _scaled(line: Picture, most: int = 1 << 13) -> Picture:
    width = min(most, max(1, math.ceil(_HEIGHT * line.width / line.height)))
    return line.resize((width, _HEIGHT), 2)  # 2: bilinear, as in training


def _tensor(images: Sequence[Pixels], width: int) -> npt.NDArray[np.float32]:
    """Give ``(lines, 3, 48, width)`` float32, BGR in -1..1, what is right of a line 0."""
    found = np.zeros((len(images), 3, _HEIGHT, width), np.float32)
    for row, image in zip(found, images, strict=True):
        row[:, :, : image.shape[1]] = image[:, :, ::-1].transpose(2, 0, 1)
        row[:, :, : image.shape[1]] *= 2 / 255
        row[:, :, : image.shape[1]] -= 1
    return found
