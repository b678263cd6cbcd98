"""Text in pictures: finds lines, turns them upright and reads them; refuses other tasks.

Options: ``detector``, ``recogniser`` and ``classifier`` name the graphs (without a classifier
lines on their head stay there), ``shorter_side`` and ``longer_side`` bound what the detector
looks at, ``box_threshold``, ``threshold`` and ``unclip`` are those of `BoxRules`, ``text_score``
is the mean likelihood below which a line is dropped, ``line_pixels`` bounds the columns that the
recogniser reads at once.

Source: PP-OCR, Du et al. 2020, with the set-up of the package ``rapidocr`` 3.10. Lines are cut
out of the picture as it came, not of the smaller one that the detector saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stackctl_daemon.inference.adapters.base import (
    Decoding,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.image import (
    Bounds,
    Picture,
    decode,
    image_bytes,
    letterbox,
    pixels,
)
from stackctl_daemon.inference.adapters.ocr_boxes import (
    BoxRules,
    Points,
    find_boxes,
    reading_order,
)
from stackctl_daemon.inference.adapters.ocr_lines import (
    Classifier,
    Line,
    Recogniser,
    cut_out,
    read_boxes,
)
from stackctl_daemon.inference.adapters.option import check_known

_STEP = 32
"""The detector halves its picture five times."""
_SLIM = 8
"""Beyond this ratio of its sides a picture gets borders: the detector saw none like it."""


class _Page(NamedTuple):
    picture: Picture
    seen: Picture
    """What the detector looks at."""
    left: int
    top: int
    """Borders around `picture` in what `seen` was made of, in pixels of the picture."""
    scale: tuple[float, float]
    """Pixels of the picture for one of `seen`."""


class Ocr(Decoding):
    """A picture to ``{"text", "lines": [{"text", "score", "box": [[x, y] x 4]}]}``.

    Lines are in reading order; a box begins at the top left of its text and goes on clockwise.
    """

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        options = spec.options
        self._bounds = Bounds.of(options)
        self._shorter = int(options.get("shorter_side", 736))
        self._longer = int(options.get("longer_side", 2000))
        standard = BoxRules()
        self._rules = BoxRules(
            threshold=float(options.get("threshold", standard.threshold)),
            box_threshold=float(options.get("box_threshold", standard.box_threshold)),
            unclip=float(options.get("unclip", standard.unclip)),
        )
        self._text_score = float(options.get("text_score", 0.5))
        self._detector = open_session(spec.file("detector", "detector.onnx"))
        self._input = next(iter(self._detector.inputs))
        self._classifier = None
        if "classifier" in options:
            self._classifier = Classifier(open_session(spec.file("classifier", "")))
        self._recogniser = Recogniser.of(
            open_session(spec.file("recogniser", "recogniser.onnx")),
            budget=int(options.get("line_pixels", 1280)),
            model=spec.name,
        )

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs the detector on."""
        return self._detector.execution_provider

    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Decode pictures and make them what the detector wants.

        Raises:
            Invalid: an input is not a picture, or there is an option.
        """
        check_known(self.spec.name, options, ())
        for index, data in enumerate(image_bytes(inputs, self.spec.name)):
            page = self._page(decode(data, bounds=self._bounds, what=f"input {index}"))
            yield Unit(page.seen.width * page.seen.height // _STEP**2, page)

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Find and read; lines of all pictures are read together.

        Raises:
            Failed: a model could not.
        """
        pages: list[_Page] = [unit.payload for unit in units]
        boxes = [self._find(page) for page in pages]
        crops = [
            cut_out(page.picture, box)
            for page, found in zip(pages, boxes, strict=True)
            for box in found
        ]
        lines = iter(read_boxes(crops, self._recogniser, self._classifier))
        return [self._result(found, [next(lines) for _ in found]) for found in boxes]

    def budget(self, batch_tokens: int) -> int:
        """Give the area of a batch in squares of 32 x 32 pixels."""
        return int(self.spec.options.get("batch", 1)) * (self._shorter // _STEP) ** 2

    def _page(self, picture: Picture) -> _Page:
        width, height = picture.size
        # Borders make it at most four times as long as wide.
        wide = max(width, height // 4) if height > _SLIM * width else width
        high = max(height, width // 4) if width > _SLIM * height else height
        ratio = max(1.0, self._shorter / min(wide, high))
        if max(wide, high) > self._longer:
            ratio = max(self._longer / max(wide, high), self._shorter / min(wide, high))
            ratio = min(1.0, ratio)
        seen_w, seen_h = (max(1, round(side * ratio / _STEP)) * _STEP for side in (wide, high))
        scale = wide / seen_w, high / seen_h
        # Borders come last: around 60,000 x 1,000 pixels they would be 840 million.
        size = max(1, round(width / scale[0])), max(1, round(height / scale[1]))
        seen = letterbox(picture.resize(size, 2), (seen_w, seen_h), (0, 0, 0))  # 2: bilinear
        left, top = (seen_w - size[0]) // 2 * scale[0], (seen_h - size[1]) // 2 * scale[1]
        return _Page(picture, seen, round(left), round(top), scale)

    def _find(self, page: _Page) -> list[Points]:
        image = pixels(page.seen)[:, :, ::-1].transpose(2, 0, 1)[None]
        feed: FloatArray = image * np.float32(2 / 255)
        feed -= 1
        [scores] = self._detector.run(None, {self._input: feed})
        size = page.picture.size
        found = []
        for box in find_boxes(scores[0, 0], self._rules):
            corners = np.round(box.corners * page.scale) - (page.left, page.top)
            corners = np.clip(corners, 0, (size[0] - 1, size[1] - 1))
            sides = np.linalg.norm(corners - corners[0], axis=1)
            if min(sides[1], sides[3]) > 3:
                found.append(corners)
        return found

    def _result(self, boxes: list[Points], lines: list[Line]) -> Result:
        kept = [
            i
            for i, line in enumerate(lines)
            if line.text.strip() and line.score >= self._text_score
        ]
        # A page lies as most of its characters do.
        weights = np.zeros(4)
        for i in kept:
            weights[lines[i].turns] += len(lines[i].text)
        upright = [_turned(boxes[i], lines[i].turns, int(weights.argmax())) for i in kept]
        ordered = [[kept[i] for i in row] for row in reading_order(upright)]
        return Result(
            {
                "text": "\n".join(" ".join(lines[i].text for i in row) for row in ordered),
                "lines": [
                    {
                        "text": lines[i].text,
                        "score": lines[i].score,
                        "box": np.roll(boxes[i], -lines[i].turns, 0).tolist(),
                    }
                    for row in ordered
                    for i in row
                ],
            }
        )


def _turned(box: Points, text_turns: int, page_turns: int) -> Points:
    """Give a box as it lies when the page is upright, from the top left of its text on."""
    found = np.roll(box, -text_turns, 0)
    for _ in range(page_turns):
        found = np.stack([found[:, 1], -found[:, 0]], 1)
    return found
