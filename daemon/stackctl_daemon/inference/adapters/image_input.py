"""Pictures to the tensor that a vision model reads, by options; refuses to decode.

Options, with what they are when left out:

=============  ==========  ================================================================
``size``       224         pixels of the model's input, a side or ``[height, width]``
``resize``     crop        ``crop``: the shorter side to ``resize_to``, then the middle;
                           ``squash``: both sides to it, then the middle;
                           ``pad``: the longer side to ``size``, the rest ``pad_colour``
``resize_to``  ``size``    pixels before the middle is cut out
``resample``   bicubic     nearest, bilinear, bicubic, lanczos, box, hamming
``draft``      2           a JPEG is decoded at 1/2, 1/4 or 1/8 when that leaves this many times
                           the pixels needed; 0: always whole
``jpeg``       0           quality of a JPEG round trip after resizing; 0: none
``layout``     nchw        or ``nhwc``
``channels``   rgb         or ``bgr``
``scale``      1/255       what a byte is multiplied by, before
``mean``       0           subtracted, a number or one a channel in the order of ``channels``
``std``        1           divided by, likewise
=============  ==========  ================================================================

Source: the fields are those of the ``preprocessor_config.json`` of CLIP (Radford et al. 2021) and
SigLIP (Zhai et al. 2023) exports, and of Caffe's ``Transformer``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Array, Session
from stackctl_daemon.inference.adapters.image import (
    Bounds,
    Picture,
    Pixels,
    decode,
    jpeg_round_trip,
    letterbox,
    pixels,
    resample,
)

_CHOICES = {
    "resize": ("crop", "squash", "pad"),
    "layout": ("nchw", "nhwc"),
    "channels": ("rgb", "bgr"),
}
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class ImageInput:
    """How one model wants its pictures."""

    def __init__(self, options: Mapping[str, Any], model: str) -> None:
        self._model = model
        self._bounds = Bounds.of(options)
        self._height, self._width = _pair(options.get("size", 224), "size", model)
        size = [self._height, self._width]
        self._to = _pair(options.get("resize_to", size), "resize_to", model)
        chosen = {
            name: str(options.get(name, known[0])).lower() for name, known in _CHOICES.items()
        }
        for name, value in chosen.items():
            if value not in _CHOICES[name]:
                raise Failed(
                    f'model "{model}": {name} = "{value}", known: {", ".join(_CHOICES[name])}'
                )
        self._resize = chosen["resize"]
        self._nchw, self._bgr = chosen["layout"] == "nchw", chosen["channels"] == "bgr"
        self._filter = resample(str(options.get("resample", "bicubic")))
        self._draft = int(options.get("draft", 2) * max(*self._to, *size))
        self._jpeg = int(options.get("jpeg", 0))
        colour = [int(value) for value in options.get("pad_colour", (0, 0, 0))]
        self._colour = (colour[0], colour[1], colour[2])
        scale = np.float32(options.get("scale", 1 / 255))
        mean = np.asarray(options.get("mean", 0.0), np.float32)
        std = np.asarray(options.get("std", 1.0), np.float32)
        self._factor = np.broadcast_to(scale / std, 3).astype(np.float32)
        self._offset = np.broadcast_to(-mean / std, 3).astype(np.float32)

    def read(self, data: bytes, what: str) -> Pixels:
        """Decode and resize: ``(height, width, 3)`` uint8 RGB, a quarter of the tensor's bytes.

        Raises:
            Invalid: it is not a picture that can be decoded within bounds.
        """
        picture = decode(data, bounds=self._bounds, what=what, draft=self._draft)
        resized = self._resized(picture)
        return pixels(jpeg_round_trip(resized, self._jpeg) if self._jpeg else resized)

    def tensor(self, images: Sequence[Pixels]) -> Array:
        """Give the batch as float32 in the model's layout, cut to the middle and normalised."""
        batch = np.stack([self._middle(image) for image in images])
        if self._bgr:
            batch = batch[..., ::-1]
        found = batch * self._factor
        found += self._offset
        return np.ascontiguousarray(found.transpose(0, 3, 1, 2)) if self._nchw else found

    def feed(self, session: Session, name: str, images: Sequence[Pixels]) -> Array:
        """Give the batch in the type that an input of a graph has.

        Raises:
            Failed: the graph has no such input, or it takes no floats.
        """
        if name not in session.inputs:
            raise Failed(
                f'model "{self._model}" has no input "{name}", it has {", ".join(session.inputs)}'
            )
        dtype = _DTYPES.get(session.inputs[name][0])
        if dtype is None:
            raise Failed(
                f'model "{self._model}": input "{name}" is {session.inputs[name][0]}, expected one'
                f" of {', '.join(_DTYPES)}"
            )
        return self.tensor(images).astype(dtype, copy=False)

    @property
    def blank(self) -> Pixels:
        """A black picture of the model's size."""
        return np.zeros((self._height, self._width, 3), np.uint8)

    def _resized(self, picture: Picture) -> Picture:
        width, height = picture.size
        if self._resize == "squash":
            return picture.resize((self._to[1], self._to[0]), self._filter)
        if self._resize == "pad":
            ratio = min(self._height / height, self._width / width)
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
            whole = (self._width, self._height)
            return letterbox(picture.resize(size, self._filter), whole, self._colour)
        ratio = max(self._to[0] / height, self._to[1] / width)
        # The longer side is cut down, as torchvision's Resize does it.
        size = (max(self._to[1], int(width * ratio)), max(self._to[0], int(height * ratio)))
        # Only the middle is resampled: of a long strip the rest would be thrown away.
        keep_w, keep_h = min(size[0], self._width), min(size[1], self._height)
        left, top = (size[0] - keep_w) // 2, (size[1] - keep_h) // 2
        fx, fy = width / size[0], height / size[1]
        box = (left * fx, top * fy, (left + keep_w) * fx, (top + keep_h) * fy)
        return picture.resize((keep_w, keep_h), self._filter, box=box)

    def _middle(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        top, left = (height - self._height) // 2, (width - self._width) // 2
        return image[top : top + self._height, left : left + self._width]


def _pair(value: Any, name: str, model: str) -> tuple[int, int]:
    found = [value, value] if isinstance(value, int) else list(value)
    if len(found) != 2 or min(found) < 1:
        raise Failed(
            f'model "{model}": {name} = {value}, expected a number of pixels or [height, width]'
        )
    return int(found[0]), int(found[1])
