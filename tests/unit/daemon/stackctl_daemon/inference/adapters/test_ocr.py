from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stackctl_daemon.inference.adapters import ocr
from stackctl_daemon.inference.adapters.base import ModelSpec
from stackctl_daemon.inference.adapters.image import letterbox
from stackctl_daemon.inference.adapters.ocr_lines import Recogniser


class Session:
    """Stands where nothing is computed."""

    inputs = ("x",)


@pytest.mark.parametrize("size", [(60_000, 100), (100, 60_000), (2_000_000, 8)])
def test_borders_of_a_slim_picture_cost_no_more_than_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def board(picture: Any, size: tuple[int, int], colour: tuple[int, int, int]) -> Any:
        sizes.append(size[0] * size[1])
        assert sizes[-1] < 4_000_000
        return letterbox(picture, size, colour)

    monkeypatch.setattr(ocr, "letterbox", board)
    monkeypatch.setattr(Recogniser, "of", lambda *_, **__: None)
    spec = ModelSpec("m", Path(), None, None)
    page = ocr.Ocr(spec, lambda *_, **__: Session())._page(Image.new("RGB", size))  # type: ignore[arg-type]

    assert sizes == [page.seen.width * page.seen.height]
    assert page.seen.width % 32 == page.seen.height % 32 == 0
    # The middle of what is seen is the middle of the picture.
    middle = (
        page.seen.width / 2 * page.scale[0] - page.left,
        page.seen.height / 2 * page.scale[1] - page.top,
    )
    assert middle == pytest.approx((size[0] / 2, size[1] / 2), abs=2 * max(page.scale))
